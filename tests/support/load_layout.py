"""Load DAGs and plugins as Airflow's processes do, in a process of its own, and print what happened as JSON."""

from __future__ import annotations

import json
import sys


def main(dags: str) -> None:
    from airflow import plugins_manager

    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:  # before Airflow 3.2
        from airflow.models.dagbag import DagBag  # type: ignore[no-redef]

    main_module = sys.modules["__main__"]
    standard = {name: sys.modules[name] for name in sys.stdlib_module_names if name in sys.modules}
    if hasattr(plugins_manager, "import_errors"):
        plugins_manager.ensure_plugins_loaded()
        plugin_errors = dict(plugins_manager.import_errors)
    else:
        plugin_errors = dict(plugins_manager.get_import_errors())
    bag = DagBag(dags)
    replaced = [name for name, module in standard.items() if sys.modules.get(name) is not module]
    shadowing = [
        name
        for name in sys.stdlib_module_names
        if "log_archival" in (getattr(sys.modules.get(name), "__file__", None) or "")
    ]
    print(
        json.dumps(
            {
                "dags": sorted(bag.dags),
                "import_errors": bag.import_errors,
                "plugin_errors": plugin_errors,
                "replaced": [*replaced, *shadowing],
                "main_is_replaced": sys.modules["__main__"] is not main_module,
                "executed": sorted(
                    path
                    for name, module in list(sys.modules.items())
                    if not name.startswith("log_archival")
                    and "/log_archival/" in (path := getattr(module, "__file__", None) or "")
                ),
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
