"""Opens a sweep: its folder, which is made or compared, its storage, and its study."""

from __future__ import annotations

import os
import platform
import shutil
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ppema.checkpoint.durable import replace_file
from ppema.config import load_config
from ppema.config.differing import differences
from ppema.config.tree.yaml_text import block_yaml
from ppema.errors import Naming, PpemaError, SetupError, listed, one_line
from ppema.experiments.sweeps.search.space import Space
from ppema.experiments.sweeps.shared.outage import StorageOutageError, WatchedStorage
from ppema.experiments.sweeps.shared.study_storage import open_storage
from ppema.experiments.sweeps.shared.trial_lock import LOCKS, TrialLock
from ppema.experiments.sweeps.sweep_folder import JOURNAL, PLACE, PROCESS_LOG, REPORT, RESULTS, SWEEP, TRIALS, is_sweep

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.study import Study

# Keys that may differ between the processes of a sweep, and when it continues.
_MAY_DIFFER = ("output", "sweep.trials", "sweep.jobs", "runtime.threads", "runtime.device")
_CONFIG = "config"  # attribute of the study


@dataclass(frozen=True)
class OpenedSweep:
    """A sweep that this process takes part in.

    place: names the machine and the folder for the processes on other machines, which reach a storage outside the folder; None
    without one. No other folder has it, not even one with the same path on a machine of the same name.
    """

    space: Space
    folder: Path
    storage: WatchedStorage
    study: Study
    place: str | None


def open_sweep(space: Space, folder: Path, url: str | None) -> OpenedSweep:
    """Open the sweep of `space` in `folder`, with the storage at `url` (`open_storage`), or begin it.

    Its study has the name of the folder, so that machines with the same storage may have it in different places. A folder with
    a journal may be renamed: its study keeps its name. A sweep of another config that trained nothing is replaced.

    Raises PpemaError if the folder holds something else, or a sweep of another config; SetupError for a folder that can not be
    written, and for a storage that can not be reached.
    """
    config = {**space.config.model_dump(mode="json"), "sweep": space.section.model_dump(mode="json")}
    made = not os.path.lexists(folder)
    try:
        (folder / LOCKS).mkdir(parents=True, exist_ok=True)
        with TrialLock.wait(folder, "start"):
            before = _checked(folder, config, replaceable=url is None)
            if before is not None and url is None and not (folder / JOURNAL).exists():
                raise PpemaError(
                    Naming("{storage}: {} began with another storage: name that one, or another folder with {to}", folder)
                )
            storage = open_storage(url, folder)
            study = _study(space, storage, _name(folder, storage, url), config, new=before is None, own=url is None)
            if before is None or before != space.section.trials:
                replace_file(folder / SWEEP, block_yaml(config).encode())
            place = None if url is None else _place(folder)
    except OSError as error:
        raise SetupError(f"{folder}: the sweep's folder can not be written: {error.strerror or error}") from error
    except PpemaError:
        # Those that this call made, if nothing is in them.
        with suppress(OSError):
            (folder / LOCKS).rmdir()
            if made:
                folder.rmdir()
        raise
    return OpenedSweep(space, folder, storage, study, place)


def _name(folder: Path, storage: WatchedStorage, url: str | None) -> str:
    """The name of the sweep's study: of the only one in a journal, or else of the folder."""
    import optuna

    found = optuna.get_all_study_names(cast("BaseStorage", storage)) if url is None else []
    return found[0] if len(found) == 1 else os.path.basename(os.path.realpath(folder))


def _place(folder: Path) -> str:
    """The machine and the id of the folder, which is made at the first call. Raises OSError."""
    file = folder / PLACE
    if not file.exists():
        replace_file(file, f"{uuid.uuid4().hex}\n".encode())
    return f"{platform.node()}:{file.read_text().strip()}"


def _checked(folder: Path, config: dict[str, Any], *, replaceable: bool) -> int | None:
    """The number of trials of the sweep that the folder holds; None for a new folder. Raises PpemaError.

    replaceable: whether a sweep of another config that trained nothing is removed.
    """
    if not is_sweep(folder):
        found = sorted(each.name for each in os.scandir(folder) if each.name not in (LOCKS, JOURNAL, f"{JOURNAL}.lock", PLACE))
        if found:
            what = "is the folder of a run" if "config.yml" in found else f"holds other files ({listed(found)})"
            raise PpemaError(Naming("{to}: {} {}: name another folder for the sweep", folder, what))
        return None
    before = load_config(folder / SWEEP)
    if before.sweep is None or before.sweep.trials is None:
        raise PpemaError(f"{folder / SWEEP}: the section `sweep` is damaged")
    was = {**before.model_dump(mode="json"), "sweep": before.sweep.model_dump(mode="json")}
    if replaceable and differences(was, config, _MAY_DIFFER) and _trained_nothing(folder):
        _clear(folder)
        return None
    _compare(was, config, str(folder))
    if config["sweep"]["trials"] < before.sweep.trials:
        raise PpemaError(Naming("{trials}: {} has {} trials already: name at least as many", folder, before.sweep.trials))
    return before.sweep.trials


def _trained_nothing(folder: Path) -> bool:
    """Whether no run of the sweep has got beyond its start, and no other process trains one."""
    for name in os.listdir(folder / LOCKS):
        lock = TrialLock.now(folder, name)
        if lock is not None:
            lock.release()
        elif name != "start":
            return False
    return all(each.name == PROCESS_LOG for each in (folder / TRIALS).glob("*/*"))


def _clear(folder: Path) -> None:
    """Remove the files of the sweep, but for its locks. Raises OSError."""
    if (folder / TRIALS).exists():
        shutil.rmtree(folder / TRIALS)
    for name in (JOURNAL, f"{JOURNAL}.lock", RESULTS, REPORT, SWEEP):
        (folder / name).unlink(missing_ok=True)


def _compare(was: dict[str, Any], now: dict[str, Any], where: str) -> None:
    if changed := differences(was, now, _MAY_DIFFER):
        message = "{} holds a sweep of another config: {}: change it back, or name another folder with {to}"
        raise PpemaError(Naming(message, where, listed(changed)))


def _study(space: Space, storage: WatchedStorage, name: str, config: dict[str, Any], *, new: bool, own: bool) -> Study:
    """The study of the sweep, which the first start creates.

    new: whether its folder is; own: whether the storage is the folder's journal. Raises PpemaError if the
    study is of another config, or is missing for an old folder.
    """
    import optuna

    from ppema.experiments.sweeps.search.pruning import MedianAtShare

    try:
        study = optuna.create_study(
            storage=cast("BaseStorage", storage),
            study_name=name,
            direction="maximize" if space.mode == "max" else "minimize",
            pruner=MedianAtShare(space.section.prune_after, len(space.seeds)),
            load_if_exists=True,
        )
        before = study.user_attrs.get(_CONFIG)
        if before is None and not new and own:
            message = "the sweep's journal ({}) is cut: restore it from a copy, or name another folder with {to}"
            raise PpemaError(Naming(message, JOURNAL))
        if before is None and not new:
            message = "{storage}: it has no study {!r}, the name of the folder: was the folder renamed, or the storage another?"
            raise PpemaError(Naming(message, name))
        if before is None:
            study.set_user_attr(_CONFIG, config)
    except StorageOutageError as error:
        raise SetupError(f"the study {name!r} can not be opened in the sweep's storage: {error.fault}") from error
    except (optuna.exceptions.OptunaError, ValueError, KeyError, AssertionError) as error:
        raise SetupError(f"the study {name!r} can not be opened in the sweep's storage: {one_line(error)}") from error
    if before is not None:
        _compare(before, config, f"the study {name!r} in the sweep's storage")
    return study
