"""Configs: typed, frozen models of every section, and the reader that makes them from YAML. Imports no paddle."""

from ppema.config.dump import to_yaml
from ppema.config.duration import Duration
from ppema.config.json_schema import schema_json
from ppema.config.load import load_config
from ppema.config.schema import RAW, Config
from ppema.config.sections.average_spec import DEFAULT_BATCHES, AverageSpec, WarmupSpec
from ppema.config.sections.data import Data
from ppema.config.sections.data_sets import Csv, DataSpec, Digits, DottedData, Idx, ImageFolder, Npz, Synthetic
from ppema.config.sections.init_from import PDPARAMS, SAFETENSORS, InitFrom
from ppema.config.sections.named import LearningRate, Named, Optimizer
from ppema.config.sections.runtime_section import Runtime
from ppema.config.sections.sweep_section import Sweep
from ppema.config.sections.train_section import Train
from ppema.config.swept import Choices, Range

__all__ = [
    "DEFAULT_BATCHES",
    "PDPARAMS",
    "RAW",
    "SAFETENSORS",
    "AverageSpec",
    "Choices",
    "Config",
    "Csv",
    "Data",
    "DataSpec",
    "Digits",
    "DottedData",
    "Duration",
    "Idx",
    "ImageFolder",
    "InitFrom",
    "LearningRate",
    "Named",
    "Npz",
    "Optimizer",
    "Range",
    "Runtime",
    "Sweep",
    "Synthetic",
    "Train",
    "WarmupSpec",
    "load_config",
    "schema_json",
    "to_yaml",
]
