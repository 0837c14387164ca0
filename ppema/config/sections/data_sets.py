"""The config sections of data sets: one section for each kind, chosen by its `name`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BeforeValidator,
    Field,
    Strict,
    ValidationError,
    WrapValidator,
    model_validator,
)

from ppema.averaging.decay import MOST_STEPS
from ppema.config.section import Args, Count, Flag, NotNegative, Section, Seed, Text, examples
from ppema.config.sections.transform_spec import TransformSpec
from ppema.config.wording import counting, expecting, fault, faults, in_our_words
from ppema.user_code.names import did_you_mean
from ppema.values import shown


def _integer(value: Any) -> int:
    # Literal compares with ==, so it would accept true as 1.
    if type(value) is not int:
        raise ValueError
    return value


_MOST_WORKERS = 1024  # Each worker is a process; a larger number is a typing mistake.
Workers = Annotated[int, Strict(), Field(ge=0, le=_MOST_WORKERS), counting("an integer", 0, _MOST_WORKERS)]
Classes = Annotated[int, Strict(), Field(ge=2, le=MOST_STEPS), counting("an integer", 2, MOST_STEPS)]
Size = Annotated[tuple[Count, Count], expecting("[height, width], two integers >= 1")]
Channels = Annotated[Literal[1, 3], BeforeValidator(_integer), expecting("1 or 3")]
Column = Annotated[
    Annotated[str, Strict(), Field(min_length=1)] | Annotated[int, Strict(), Field(ge=-MOST_STEPS, le=MOST_STEPS)],
    expecting("a column's name or its index"),
]
ArrayNames = Annotated[
    Annotated[str, Strict(), Field(min_length=1)] | Annotated[tuple[Text, ...], Field(min_length=1)],
    expecting("the name of an array, or a list of names"),
]
Character = Annotated[str, Strict(), Field(min_length=1, max_length=1), expecting("one character")]


class DataSection(Section):
    """The keys of every data set."""

    batch_size: Count = Field(description="Samples in a batch.")
    shuffle: Flag = Field(default=False, description="Draw the samples in a new random order in every epoch.")
    drop_last: Flag = Field(default=False, description="Leave out the last batch if it has fewer than `batch_size` samples.")
    workers: Workers = Field(default=0, description="Processes that load samples. 0: the main process loads them.")
    transforms: tuple[TransformSpec, ...] = Field(default=(), description="Changes of samples, in this order.")


class Digits(DataSection):
    """The UCI handwritten digits that come with ppema: 1 x 8 x 8 images of 10 classes."""

    model_config = examples(
        {"name": "digits", "split": "train", "batch_size": 32, "shuffle": True, "drop_last": True, "workers": 2},
        {
            "name": "digits",
            "split": "train",
            "batch_size": 32,
            "transforms": [{"name": "RandomCrop", "args": {"size": 8, "padding": 1}}],
        },
    )

    name: Literal["digits"] = Field(default="digits", description="The digits that come with ppema.")
    split: Literal["train", "test"] = Field(description="Part of the fixed, stratified split.")


class Idx(DataSection):
    """Images and labels in two IDX files, plain or gzipped: MNIST, Fashion-MNIST."""

    model_config = examples(
        {
            "name": "idx",
            "images": "mnist/train-images-idx3-ubyte.gz",
            "labels": "mnist/train-labels-idx1-ubyte.gz",
            "batch_size": 128,
            "shuffle": True,
            "drop_last": True,
            "workers": 2,
            "transforms": ["RandomHorizontalFlip"],
        }
    )

    name: Literal["idx"] = Field(default="idx", description="A pair of IDX files.")
    images: Text = Field(description="Path of the images file, from the working directory.")
    labels: Text = Field(description="Path of the labels file, from the working directory.")


class ImageFolder(DataSection):
    """A folder with one folder of images for each class."""

    model_config = examples(
        {
            "name": "image_folder",
            "path": "photos/train",
            "size": [64, 64],
            "channels": 3,
            "batch_size": 64,
            "shuffle": True,
            "drop_last": True,
            "workers": 2,
            "transforms": ["RandomHorizontalFlip", {"name": "RandAugment", "args": {"magnitude": 5}}],
        }
    )

    name: Literal["image_folder"] = Field(default="image_folder", description="A folder of images for each class.")
    path: Text = Field(description="Path of the outer folder, from the working directory.")
    size: Size = Field(description="[height, width] in pixels. Every image is resized to it.")
    channels: Channels = Field(default=3, description="1: grey. 3: RGB.")


class Npz(DataSection):
    """Arrays in a NumPy .npz file. Their first axis counts the samples."""

    model_config = examples(
        {
            "name": "npz",
            "path": "train.npz",
            "inputs": ["x"],
            "target": "y",
            "batch_size": 32,
            "shuffle": True,
            "drop_last": True,
            "workers": 2,
            "transforms": [{"name": "Normalize", "args": {"mean": 0.5, "std": 0.25}}],
        }
    )

    name: Literal["npz"] = Field(default="npz", description="A NumPy .npz file.")
    path: Text = Field(description="Path of the file, from the working directory.")
    inputs: tuple[Text, ...] = Field(
        default=("x",),
        min_length=1,
        description="Names of the model's input arrays. If `data.inputs` is given, it is the default.",
    )
    target: ArrayNames = Field(
        default="y", description="Name of the target array, or a list of names. If `data.targets` is given, it is the default."
    )

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the target arrays."""
        return (self.target,) if isinstance(self.target, str) else self.target


class Csv(DataSection):
    """A table of numbers. Each row is a sample; one column is the target, and all others are the input."""

    model_config = examples(
        {"name": "csv", "path": "houses.csv", "target": "price", "target_dtype": "float32", "batch_size": 32, "shuffle": True},
        {"name": "csv", "path": "iris.txt", "target": -1, "header": False, "delimiter": ";", "batch_size": 32},
        {"name": "csv", "path": "iris.csv", "target": "species", "batch_size": 32, "drop_last": True, "workers": 2},
        {"name": "csv", "path": "iris.csv", "target": "species", "batch_size": 32, "transforms": ["my_transforms.add_noise"]},
    )

    name: Literal["csv"] = Field(default="csv", description="A CSV file of numbers.")
    path: Text = Field(description="Path of the file, from the working directory.")
    target: Column = Field(description="Column of the target: its name, or its index. A negative index counts from the end.")
    header: Flag = Field(default=True, description="Whether the first row holds the names of the columns.")
    delimiter: Character = Field(default=",", description="Character between two columns.")
    target_dtype: Literal["int64", "float32"] = Field(default="int64", description="int64 for classes, float32 for regression.")

    @model_validator(mode="after")
    def _name_needs_header(self) -> Csv:
        if isinstance(self.target, str) and not self.header:
            message = f"expected a column's index, as the file has no header, got {shown(self.target)}"
            raise faults([(("target",), message)])
        return self


class Synthetic(DataSection):
    """Random points around one random centre for each class, for trials."""

    model_config = examples(
        {
            "name": "synthetic",
            "samples": 1000,
            "shape": [1, 8, 8],
            "classes": 10,
            "noise": 0.5,
            "seed": 0,
            "split": "train",
            "batch_size": 32,
            "shuffle": True,
            "drop_last": True,
            "workers": 2,
            "transforms": [{"name": "RandomCrop", "args": {"size": 8, "padding": 1}}],
        }
    )

    name: Literal["synthetic"] = Field(default="synthetic", description="Random points around a centre for each class.")
    samples: Count = Field(description="Number of samples.")
    shape: tuple[Count, ...] = Field(min_length=1, description="Shape of one sample's input.")
    classes: Classes = Field(description="Number of classes.")
    noise: NotNegative = Field(default=0.5, description="Standard deviation of the points around their centre.")
    seed: Seed = Field(default=0, description="Seed of the centres. Use one seed for both splits of a task.")
    split: Literal["train", "test"] = Field(default="train", description="Part of the task. Each split has its own points.")


class DottedData(DataSection):
    """A data set of your own: a dotted path to a paddle.io.Dataset, or to a callable that returns one."""

    model_config = examples(
        {
            "name": "mydata.Photos",
            "args": {"folder": "photos/train"},
            "batch_size": 32,
            "shuffle": True,
            "drop_last": True,
            "workers": 2,
            "transforms": [{"name": "my_transforms.Blur", "args": {"radius": 2}}],
        }
    )

    name: Annotated[str, Strict(), Field(pattern=r"\.")] = Field(description="Dotted path to the data set.")
    args: Args = Field(default={}, description="Keyword arguments of the data set.")


AnyData = Digits | Idx | ImageFolder | Npz | Csv | Synthetic | DottedData
KINDS: dict[str, type[DataSection]] = {
    kind.model_fields["name"].default: kind for kind in get_args(AnyData) if kind is not DottedData
}


def chosen(value: Any) -> Any:
    """The section of the kind that `value` names. Raises ValidationError and PydanticCustomError."""
    if isinstance(value, get_args(AnyData)):
        return value
    if not isinstance(value, Mapping):
        raise fault(f"expected a mapping, got {shown(value)}")
    name = value.get("name")
    if isinstance(name, str):
        if name in KINDS:
            return KINDS[name].model_validate(value)
        if "." in name:
            return DottedData.model_validate(value)
        hint = did_you_mean(name, KINDS) or f"; known: {', '.join([*KINDS, 'any dotted path'])}"
        message = f"unknown data set {shown(name)}{hint}"
    else:
        message = f"expected a data set's name, got {shown(name)}" if "name" in value else "required key is missing"
    # The kind is unknown, so only the keys that all kinds share can be checked.
    found = [(("name",), message)]
    try:
        DataSection.model_validate({key: value[key] for key in DataSection.model_fields if key in value})
    except ValidationError as error:
        found += in_our_words(error, DataSection)
    raise faults(found)


DataSpec = Annotated[AnyData, WrapValidator(lambda value, _: chosen(value))]
