"""The study's prompts: what a model reads, what it should write, and how a candidate is cut out of what it wrote."""

from peft_study.data.prompts.plain import INSTRUCTION
from peft_study.data.prompts.template import Prompt, Template

__all__ = ["INSTRUCTION", "Prompt", "Template"]
