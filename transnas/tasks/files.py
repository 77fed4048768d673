"""Tasks from the user's own files: folders of images or texts, a .npz, a .txt."""

from __future__ import annotations

from pathlib import Path

from transnas._errors import InputError
from transnas.tasks._base import DataTask
from transnas.tasks._registry import Options

__all__ = ["from_path"]


def from_path(path: str | Path, options: Options | None = None) -> DataTask:
    """Return the task at `path`.

    See `folder_task`, `coco_task`, `mask_task`, `text_task` and `npz_task`.

    Its `digest` tells it from other data of the same name. Raises `InputError` for anything that is
    neither, and for data that cannot be trained on.
    """
    from transnas.tasks._digest import digest_of

    task = _read(Path(path), options or Options())
    task.digest = digest_of(task)
    return task


def _read(path: Path, chosen: Options) -> DataTask:
    from transnas.tasks.text import is_text, text_task

    if is_text(path):
        return text_task(path, chosen)
    if path.is_dir():
        from transnas.tasks import _coco, _folder, _mask_folders

        if _coco.is_coco(path):
            return _coco.coco_task(path, chosen)
        if _mask_folders.is_masks(path):
            return _mask_folders.mask_task(path, chosen)
        return _folder.folder_task(path, chosen)
    if path.suffix.lower() == ".npz" and path.is_file():
        from transnas.tasks._npz import npz_task

        if chosen.size is not None:
            raise InputError(
                f"size {chosen.size} is for folders of images; accepted for a .npz: none"
            )
        return npz_task(path, chosen)
    raise InputError(
        f"task path {str(path)!r} is not usable; accepted: a folder of images in class folders, "
        "or of texts (train.txt, valid.txt), a .npz or a .txt file"
    )
