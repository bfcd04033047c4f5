"""The hash that identifies a data set by its samples."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from peft_study.data.samples import Check, ProgramTests, Sample

# Python writes no integer of more than 4,300 decimal digits; hexadecimal has no limit.
LONGEST_DECIMAL_BITS = 14_000


def fingerprint(samples: Iterable[Sample]) -> str:
    """SHA-256 of samples in order. Optional fields count only if a sample has them."""
    digest = hashlib.sha256()
    for sample in samples:
        # Sample by sample, because the tests of APPS take hundreds of megabytes as one text.
        digest.update(json.dumps(_hashed(sample), sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


def _hashed(sample: Sample) -> dict[str, Any]:
    # asdict copies value by value, which is slow for many samples, and tests may be megabytes.
    hashed = _values(sample) | {"tests": None, "checks": [_values(check) for check in sample.checks]}
    # These fields came later, and data sets without them keep the fingerprint that earlier results recorded.
    for name in ("level", "tests", "starter_code", "assertions", "published_answer"):
        if not hashed[name]:
            del hashed[name]
    # It does not decide a score, and earlier fingerprints do not contain it.
    del hashed["cluster"]
    return hashed if sample.tests is None else hashed | {"tests": _tests(sample.tests)}


def _values(record: Sample | Check) -> dict[str, Any]:
    return {spec.name: getattr(record, spec.name) for spec in fields(record)}


def _tests(tests: ProgramTests) -> dict[str, Any]:
    return {"inputs": _short(tests.inputs), "outputs": _short(tests.outputs), "fn_name": tests.fn_name}


def _short(value: Any) -> Any:
    if isinstance(value, int) and value.bit_length() > LONGEST_DECIMAL_BITS:
        return {"hexadecimal": hex(value)}
    if isinstance(value, list | tuple):
        return [_short(item) for item in value]
    if isinstance(value, dict):
        return {key: _short(item) for key, item in value.items()}
    return value
