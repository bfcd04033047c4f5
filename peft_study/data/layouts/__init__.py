"""The layouts of data sets: one module for each, named as in `DatasetLayout`, with a class that is called `Layout`."""

from importlib import import_module

from peft_study.config.schema import DatasetLayout
from peft_study.data.layouts.base import BaseLayout

# Found by name, so that a new layout is its module and its entry in the enum.
LAYOUTS: dict[DatasetLayout, BaseLayout] = {
    name: import_module(f"{__name__}.{name}").Layout() for name in DatasetLayout
}
