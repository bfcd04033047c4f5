"""The ten claims of the paper that a replication can confirm or refute, each with a rule over rows."""

from collections.abc import Sequence

from peft_study.report.claims import memory, prompting, training
from peft_study.report.claims.verdicts import Claim, Finding, judge
from peft_study.report.study import Study

# The validation loss cannot choose between prompts or between models, so the choice uses the test split.
_CHOSEN = "The best is chosen on the test split, as in the paper; the test allows for the choice."

CLAIMS: Sequence[Claim] = (
    Claim(
        1,
        "In-context learning beats zero-shot for every model.",
        "EM@10 of the best number of examples exceeds zero-shot's, for every model and data set that has both. "
        f"{_CHOSEN}",
        prompting.icl_beats_zero_shot,
    ),
    Claim(
        2,
        "More examples do not always help: the peak is near 8 on Conala and at 3 to 4 on CodeAlpacaPy.",
        "On each data set EM@10 by number of examples, averaged over the models that have every number, has its peak "
        "before the largest number and above it; on Conala the best of 6 to 11 examples (nearer to 8 than to 5 or 16) "
        "is above the best other number, on CodeAlpacaPy the best of 3 and 4. At least three numbers of examples, one "
        f"of them beyond that range. {_CHOSEN}",
        prompting.more_examples_do_not_always_help,
    ),
    Claim(
        3,
        "LoRA beats full fine-tuning for the small models.",
        "EM@10 averaged over the small models that have both is higher, on every data set. (In the paper's own table "
        "there is one model for which it is not, on one data set.)",
        training.lora_beats_full,
    ),
    Claim(
        4,
        "LoRA is the best PEFT method on average.",
        "EM@10 averaged over the models that have both is higher than that of each other adapter, on every data set. "
        "The left padding of the study's package alone makes prompt and prefix tuning fail: docs/differences.md.",
        training.lora_is_the_best_adapter,
    ),
    Claim(
        5,
        "The best large model with PEFT beats the best small model by 39.8 to 72.3 % in EM@k.",
        "The best model and method of each class by the mean of EM@1 and EM@10 over the data sets that both have (as "
        "many as any two have in common); the large one's EM@1 and EM@10 are each above the small one's, on every "
        f"data set. The ratio is reported beside the paper's, not judged. {_CHOSEN}",
        training.large_beats_small,
    ),
    Claim(
        6,
        "QLoRA-4bit halves peak memory against LoRA, at equal or better EM@10.",
        "GPU memory of training at most 0.55 times LoRA's for every model that has both, and EM@10, averaged over "
        "these models, not more than a margin below, on every data set. The margin is what a test tells with a power "
        "of 80 %, at least 1 point and at most 5; of the paper's printed numbers 1 point.",
        memory.four_bit_halves_memory,
    ),
    Claim(
        7,
        "A model of 34 billion parameters can be fine-tuned below 24 GB with QLoRA-4bit.",
        "Every such cell succeeds with a GPU peak of training below 24e9 bytes. Out of memory refutes it on a GPU of "
        "24 GB or more. Only the settings with most finished cells decide; cells with other settings are listed.",
        memory.largest_fits,
    ),
    Claim(
        8,
        "LoRA beats in-context learning and retrieval for the three CodeLlama-7B variants.",
        "EM@10 exceeds that of the best number of examples, for each variant and data set that has both; at least one "
        f"comparison with each. {_CHOSEN}",
        prompting.lora_beats_prompting,
    ),
    Claim(
        9,
        "On Conala retrieved examples beat random ones; on CodeAlpacaPy they do not.",
        "EM@10 of the best number of examples, averaged over the models that have both: on Conala higher, on "
        f"CodeAlpacaPy at most 1 point higher. {_CHOSEN}",
        prompting.retrieval_helps_on_conala_alone,
    ),
    Claim(
        10,
        "On APPS LoRA and QLoRA-4bit raise the introductory share of tests passed and Pass@5 (by 3.6 points for "
        "4-bit); interview and competition gain little.",
        "Both introductory scores of both methods exceed zero-shot's; their Pass@5 gains at each of the other levels "
        "are at most half of the introductory one. The amount is reported, not judged.",
        training.apps_gains,
    ),
)
"""In the order of the study's protocol."""


def check_all(study: Study) -> list[Finding]:
    """Check every claim against a study.

    Tests are paired where the predictions lie in the cells' folders. Otherwise they use the scores' intervals.

    Args:
        study: rows of `rows.load` or `reference.paper_rows`.
    """
    return judge(CLAIMS, study.evidence)
