"""Dashboards as code: `python -m peft_study dashboard`."""
