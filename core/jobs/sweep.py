"""All that is deleted by rule, in one place: for the runner, `python -m core doctor --prune` and the Overview."""

from core.images.sets.cache import forget_indexes
from core.jobs.claims import forget_checkpoints
from core.jobs.keys import forget_keys
from core.jobs.prepared import forget_prepared
from core.jobs.sources import forget_unaugmented
from core.jobs.uploads import sweep_uploads
from core.storage.garbage import collect_files
from core.storage.prune import Pruned, Rules, prune
from core.storage.store import Store
from core.storage.usage import artifact_sizes, forget_usage


def sweep(store: Store, rules: Rules | bool = True, *, files: bool = True) -> Pruned:
    """Delete checkpoints and keys that no job goes on with, then files that no row names, then what the rules bound.

    rules: True for the defaults; False for none of them, nor of what is merely old. files: also look for files that no
    row names where no checkpoint was let go of, which reads every column. Raises OSError where the disk refuses.
    """
    with store.database.write() as connection:
        checkpoints = forget_checkpoints(connection)
    forget_keys(store)
    look = bool(checkpoints) or files
    sizes = artifact_sizes(store) if look else {}
    for sha in checkpoints:
        store.artifacts.remove(sha)
    unnamed = collect_files(store) if look else []
    parts = [
        (kind, len(shas), sum(sizes.get(sha, 0) for sha in shas))
        for kind, shas in (("checkpoints", checkpoints), ("unnamed", unnamed))
        if shas
    ]
    if rules:
        old = forget_unaugmented(store) + forget_prepared(store.settings) + forget_indexes(store.settings)
        parts += [("caches", old, 0)] if old else []
        uploads = sweep_uploads(store.settings)
        parts += [("uploads", uploads, 0)] if uploads else []
        parts += prune(store, rules if isinstance(rules, Rules) else None).parts
    forget_usage(store)
    return Pruned(tuple(parts))
