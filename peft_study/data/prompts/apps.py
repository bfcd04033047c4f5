"""The apps form: a contest problem in the format of CodeLlama-Instruct, answered by a program between fences."""

from peft_study.data.prompts.fenced import FENCE, OPENED, fenced_code
from peft_study.data.prompts.fenced import Form as FencedForm
from peft_study.data.samples import Sample
from peft_study.data.syntax import is_program, parse

# The words of the study's package, in its revision of October 2024.
TASK = (
    "[INST] Write a python code to solve the following coding problem that obeys the constraints and passes the example"
    " test cases. The output code needs to "
)
CALLED, STANDARD_IO = "use the provided function signature", "read from and write to standard IO"


class Form(FencedForm):
    """As the fenced form, with a problem's starter code behind the opening fence, without the white space at its end.

    The target is the rest of the solution. A solution that does not begin with the starter code is, behind a line
    break, the target as a whole. `program` undoes both.
    """

    has_preamble = False

    def around(self, sample: Sample) -> tuple[str, str]:
        # The package asks for a signature only where the tests call a function.
        is_called = sample.tests is not None and sample.tests.fn_name is not None
        head = f"{TASK}{CALLED if is_called else STANDARD_IO}:\n"
        return head, f"\n[/INST]\n{OPENED}{_starter(sample)}"

    def target(self, sample: Sample) -> str:
        starter, solution = _starter(sample), sample.answer.strip()
        if not starter:
            code = solution
        elif solution.startswith(starter):
            code = solution.removeprefix(starter)
        else:
            code = f"\n{solution}"
        return f"{code}\n{FENCE}"

    def candidate(self, generated: str, prompt: str, one_line: bool) -> str:
        # Behind starter code, the white space at the beginning is the program's.
        return fenced_code(generated)[0].rstrip()

    def program(self, candidate: str, sample: Sample) -> str:
        """As in `BaseForm`: the starter code with the candidate behind it.

        A candidate that starts over is a program by itself: the two together are not Python, and it alone is.
        """
        starter = _starter(sample)
        if not starter:
            return candidate.strip()
        whole = starter + candidate
        return candidate.strip() if parse(whole) is None and is_program(candidate) else whole


def _starter(sample: Sample) -> str:
    # A model writes line breaks and indentation itself; cut off behind them, a prompt would split its tokens.
    return sample.starter_code.rstrip()
