"""Data sets as the Hugging Face hub lays them out: configurations and splits, each some files; on the hub or in a folder.

    mib-bench/ioi                                      the split `train` of its only or its default configuration
    mib-bench/copycolors_mcqa/4_answer_choices:test    a configuration, and a split
    mib-bench/ioi@5024626:validation                   a revision
    downloads/ioi:test                                 the same files in a local folder

Which files make a split stands in the head of the data set's README, else in the files' names. What was fetched once is
taken from the cache of huggingface_hub, also where there is no network. No code of a data set is ever run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, final

from edgewise.errors import FileError, InvalidValue, UnknownName
from edgewise.store.opening import opened

SPLIT = "train"
README = "README.md"
MOST_OF_A_CARD = 1 << 20
_PLACE = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(/(?P<config>[\w.-]+))?(@(?P<revision>[\w.-]+))?(:(?P<split>[\w.-]+))?")
_FOLDER = re.compile(r"(?P<name>.+?)(:(?P<split>[\w.-]+))?")


@final
@dataclass(frozen=True)
class DataSet:
    """One split of a data set: `name` is `owner/name` on the hub, or a local folder."""

    name: str
    config: str | None = None
    revision: str | None = None
    split: str = SPLIT

    @classmethod
    def of(cls, text: str) -> DataSet | None:
        """The data set that `text` names; None if it has the form of none.

        >>> DataSet.of("mib-bench/ioi@5024626:test")
        DataSet(name='mib-bench/ioi', config=None, revision='5024626', split='test')
        >>> DataSet.of("mib-bench/copycolors_mcqa/4_answer_choices").config, DataSet.of("rows.txt")
        ('4_answer_choices', None)
        """
        folder = _FOLDER.fullmatch(text)
        match = folder if folder and Path(folder["name"]).is_dir() else _PLACE.fullmatch(text)
        given = {} if match is None else {key: value for key, value in match.groupdict().items() if value is not None}
        return cls(**given) if given else None

    def files(self, suffixes: Sequence[str]) -> list[Path]:
        """Its files that end in one of `suffixes`, fetched from the hub if need be; FileError if there are none."""
        patterns = self._patterns(self._fetched([README]) / README)
        folder = self._fetched(patterns)
        found = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in suffixes and path.is_file()]
        of_split = [path for path in found if _fits(path.relative_to(folder).as_posix(), patterns)]
        if not of_split:
            raise FileError(
                f"{self.name} has no files of the split {self.split!r} that edgewise can read ({', '.join(suffixes)}); "
                "name another split after a colon, or one of its files"
            )
        return of_split

    def _fetched(self, patterns: list[str]) -> Path:
        """A folder in which its files with these patterns are."""
        if Path(self.name).is_dir():
            return Path(self.name)
        from huggingface_hub import snapshot_download

        try:
            options: dict[str, Any] = {"repo_type": "dataset", "revision": self.revision, "allow_patterns": patterns}
            return Path(snapshot_download(self.name, **options))
        except Exception as error:  # whatever the network and its libraries raise
            first = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
            raise FileError(
                f"the data set {self.name} is neither a local file nor on a Hugging Face hub that can be reached ({first}); "
                "without a network, give the path of a local copy"
            ) from None

    def _patterns(self, readme: Path) -> list[str]:
        """Of the files of its split."""
        configs = _configs(readme)
        if not configs:
            return [f"{self.config}/*{self.split}*" if self.config else f"*{self.split}*"]
        splits = configs[self._config_of(configs)]
        if self.split not in splits:
            raise UnknownName.of(f"split of {self.name}", self.split, splits)
        return splits[self.split]

    def _config_of(self, configs: Mapping[str, Any]) -> str:
        if self.config is None:
            if len(configs) > 1 and "default" not in configs:
                raise InvalidValue(
                    f"{self.name} has several configurations ({', '.join(configs)}): name one, as in "
                    f"{self.name}/{next(iter(configs))}"
                )
            return "default" if "default" in configs else next(iter(configs))
        if self.config not in configs:
            raise UnknownName.of(f"configuration of {self.name}", self.config, configs)
        return self.config


def _fits(path: str, patterns: list[str]) -> bool:
    return any(fnmatch(path, pattern) for pattern in patterns)


def _configs(readme: Path) -> dict[str, dict[str, list[str]]]:
    """Patterns of the files of each split of each configuration, as the head of the README has them; else none."""
    if not readme.is_file():
        return {}
    from huggingface_hub.repocard import metadata_load

    with opened(readme, most=MOST_OF_A_CARD):  # a pipe, or what is too large for a card, is not read
        pass
    try:
        listed = (metadata_load(readme) or {}).get("configs") or []
        return {_plain(entry["config_name"]): _splits(entry["data_files"]) for entry in listed if "data_files" in entry}
    except Exception as error:  # whatever YAML and what is made of it run into
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise FileError(f"{readme}: the header of the data set's card cannot be read ({first:.80})") from None


def _splits(files: Any) -> dict[str, list[str]]:
    """Files as a card lists them: one or more patterns, all of `train`, or some for each split."""
    if isinstance(files, str) or all(isinstance(name, str) for name in files):
        return {SPLIT: _listed(files)}
    return {_plain(entry["split"]): _listed(entry["path"]) for entry in files}


def _listed(paths: Any) -> list[str]:
    return [paths] if isinstance(paths, str) else [_plain(path) for path in paths]


def _plain(name: Any) -> str:
    """A name as text; YAML may take it for a number. ValueError for anything made of parts, which can repeat without end."""
    if not isinstance(name, str | int | float):
        raise ValueError(f"a {type(name).__name__} stands where a name belongs")
    return str(name)
