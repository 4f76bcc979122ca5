"""What SQL a filter may be: checked on DuckDB's own syntax tree, so what is checked is what is run.

A filter looks at one alert at a time: an expression over the columns of `table.COLUMNS`. All that is not known to be
harmless is refused: functions by a list of those allowed, every other syntax by a list of kinds of nodes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import duckdb

from armillary_alerts import table

MAX_SQL: Final = 20_000
MAX_NODES: Final = 4_000
MAX_DEPTH: Final = 60
MAX_COLUMNS: Final = 100

_OPERATORS = {"+", "-", "*", "/", "//", "%", "^", "**", "@", "~~", "!~~", "~~*", "!~~*", "&", "|", "<<", ">>"}  # fmt: skip
_MATH = {
    "abs", "acos", "asin", "atan", "atan2", "ceil", "ceiling", "cos", "degrees", "exp", "floor", "greatest", "least",
    "isfinite", "isinf", "isnan", "ln", "log", "log10", "log2", "pi", "pow", "power", "radians", "round", "sign", "sin",
    "sqrt", "tan", "trunc", "mod", "cbrt", "ifnull", "nullif",
}  # fmt: skip
_TEXT = {
    "contains", "ends_with", "length", "like_escape", "lower", "prefix", "regexp_full_match", "regexp_matches",
    "starts_with", "strlen", "suffix", "trim", "upper",
}  # fmt: skip
#: None of these makes a list longer than the one it is given.
_LISTS = {
    "array_extract", "array_length", "len", "list_any_value", "list_avg", "list_bool_and", "list_bool_or",
    "list_contains", "list_count", "list_distinct", "list_element", "list_extract", "list_filter", "list_first",
    "list_has", "list_kurtosis", "list_last", "list_mad", "list_max", "list_median", "list_min", "list_position",
    "list_skewness", "list_stddev_pop", "list_stddev_samp", "list_sum", "list_transform", "list_unique",
    "list_var_pop", "list_var_samp", "struct_extract",
}  # fmt: skip

#: Functions and operators that a filter can use.
FUNCTIONS: Final[frozenset[str]] = frozenset(_OPERATORS | _MATH | _TEXT | _LISTS)

_CLASSES = {
    "COLUMN_REF", "CONSTANT", "COMPARISON", "CONJUNCTION", "BETWEEN", "OPERATOR", "CASE", "CAST", "TYPE", "FUNCTION",
    "LAMBDA",
}  # fmt: skip
_OPERATOR_TYPES = {
    "OPERATOR_NOT", "OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL", "OPERATOR_COALESCE", "OPERATOR_NULLIF", "COMPARE_IN",
    "COMPARE_NOT_IN", "ARRAY_EXTRACT", "ARRAY_SLICE", "STRUCT_EXTRACT", "OPERATOR_TRY", "OPERATOR_CAST",
}  # fmt: skip
_WORDS = {
    "SUBQUERY": "a query within the query",
    "WINDOW": "a window function",
    "STAR": "* inside an expression",
    "PARAMETER": "a parameter",
    "POSITIONAL_REFERENCE": "a column by number",
    "COLLATE": "COLLATE",
    "DEFAULT": "DEFAULT",
}

Node = dict[str, Any]


class SqlError(ValueError):
    """A filter's SQL that is not allowed or not right; says what and why."""


@dataclass(frozen=True)
class Parsed:
    """A filter's SQL, taken apart and written anew by DuckDB."""

    where: str
    """The condition, as one expression."""
    select: tuple[tuple[str, str], ...]
    """Names and expressions of what it sends."""

    @property
    def plain(self) -> bool:
        """True when it sends columns of the table as they are."""
        return all(text == f'"{name}"' and name in table.BY_NAME for name, text in self.select)


def parse(connection: duckdb.DuckDBPyConnection, sql: str) -> Parsed:
    """Take a filter apart.

    Args:
        connection: any; nothing is run on it but DuckDB's parser.
        sql: `SELECT ... FROM alerts WHERE ...`, or `WHERE ...`, or the condition alone.

    Raises:
        SqlError: it is not allowed, or no SQL.
    """
    if not sql.strip():
        raise SqlError("The filter is empty.")
    if len(sql) > MAX_SQL:
        raise SqlError(f"The filter has {len(sql)} characters; {MAX_SQL} is the most.")
    if "\0" in sql:
        raise SqlError("The filter has a null character in it.")
    try:
        node = _statement(connection, sql)
        _check_node(node)
        where = node["where_clause"]
        if where is not None:
            _check_expression(where)
        select = _select(connection, node["select_list"])
        for _, expression in select:
            if expression is not None:
                _check_expression(expression)
        return Parsed(
            "TRUE" if where is None else _write(connection, where),
            tuple(
                (name, f'"{name}"' if expression is None else _write(connection, expression))
                for name, expression in select
            ),
        )
    except RecursionError:
        raise SqlError("The filter is nested too deeply.") from None


def _statement(connection: duckdb.DuckDBPyConnection, sql: str) -> Node:
    words = sql.lstrip().split(None, 1)
    first = words[0].upper() if words else ""
    texts = [sql]
    if first == "WHERE":
        texts = ["SELECT * FROM alerts " + sql]  # noqa: S608 - it is parsed, not run
    elif first not in ("SELECT", "FROM", "WITH"):
        texts = ["SELECT * FROM alerts WHERE " + sql, sql]  # noqa: S608
    parsed: Node = {}
    problems: list[str] = []
    for text in texts:
        try:
            parsed = json.loads(_one(connection, "SELECT json_serialize_sql(?)", text))
        except duckdb.Error as error:
            problems.append(str(error))
            continue
        if not parsed["error"]:
            break
        problems.append(str(parsed.get("error_message", "no SQL")))
    else:
        raise SqlError(f"Not understood: {problems[-1]}")
    if len(parsed["statements"]) != 1:
        raise SqlError("A filter is one statement; there are several, parted by semicolons.")
    node: Node = parsed["statements"][0]["node"]
    return node


def _check_node(node: Node) -> None:
    if node["type"] != "SELECT_NODE":
        raise SqlError("A filter is one SELECT: no UNION, no recursion, no VALUES.")
    if node["cte_map"]["map"]:
        raise SqlError("WITH is not allowed: a filter looks at one alert at a time.")
    if (
        node["group_expressions"]
        or node["group_sets"]
        or node["having"] is not None
        or node["aggregate_handling"] != "STANDARD_HANDLING"
    ):
        raise SqlError("GROUP BY is not allowed: a filter looks at one alert at a time.")
    if node["modifiers"]:
        kind = str(node["modifiers"][0]["type"]).replace("_MODIFIER", "")
        raise SqlError(
            f"{kind} is not allowed: alerts come as a stream, and each is looked at alone."
        )
    if node["qualify"] is not None or node["sample"] is not None:
        raise SqlError("QUALIFY and SAMPLE are not allowed.")
    source = node["from_table"]
    if source["type"] != "BASE_TABLE":
        raise SqlError(
            "FROM names one table, alerts: no joins, functions or queries, and it cannot be left out."
        )
    path = source.get("qualified_name", {}).get("path", [source["table_name"]])
    if [str(part).lower() for part in path] != ["alerts"] or source["schema_name"]:
        raise SqlError(f"There is one table, alerts; {'.'.join(path)} is not known.")
    if source["alias"] or source["column_name_alias"] or source["sample"] or source["at_clause"]:
        raise SqlError("alerts cannot be given another name.")


def _select(
    connection: duckdb.DuckDBPyConnection, nodes: list[Node]
) -> list[tuple[str, Node | None]]:
    found: list[tuple[str, Node | None]] = []
    for node in nodes:
        if node["class"] == "STAR":
            left = {str(each).lower() for each in _star(node)}
            found += [(name, None) for name in table.SCALARS if name not in left]
            continue
        name = node["alias"]
        if not name and node["class"] == "COLUMN_REF":
            name = node["column_names"][-1]
        if not name:
            raise SqlError(
                f"Name what you select: `{_write(connection, node)} AS some_name`."
            )  # fmt: skip
        plain = node["class"] == "COLUMN_REF" and node["column_names"] in ([name], ["alerts", name])
        found.append((name, None if plain and name in table.BY_NAME else node))
    names = [name.lower() for name, _ in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SqlError(f"Selected twice: {', '.join(twice)}. Give one of them another name.")
    if any('"' in name or len(name) > 63 for name in names):
        raise SqlError("Names of selected columns have at most 63 characters and no quotes.")
    if len(found) > MAX_COLUMNS:
        raise SqlError(f"{len(found)} columns are selected; {MAX_COLUMNS} is the most.")
    return found


def _star(node: Node) -> list[str]:
    """Return what EXCLUDE names in `* EXCLUDE (...)`; nothing else may change a star."""
    if (
        node.get("replace_list")
        or node.get("columns")
        or node.get("expr")
        or node.get("rename_list")
        or node.get("relation_name")
        or node.get("alias")
    ):
        raise SqlError("Of *, only * and * EXCLUDE (...) are allowed.")
    left = node.get("exclude_list") or node.get("qualified_exclude_list") or []
    return [each["column"] if isinstance(each, dict) else each for each in left]


def _check_expression(root: Node) -> None:
    for count, (node, depth, lambdas) in enumerate(_walk(root, 0, frozenset())):
        if count > MAX_NODES:
            raise SqlError(f"The filter has more than {MAX_NODES} parts.")
        if depth > MAX_DEPTH:
            raise SqlError(f"The filter is nested deeper than {MAX_DEPTH}.")
        kind = str(node["class"])
        if kind not in _CLASSES:
            raise SqlError(f"{(_WORDS.get(kind) or kind).capitalize()} is not allowed in a filter.")
        if kind == "COLUMN_REF":
            _check_column(node["column_names"], lambdas)
        elif kind == "OPERATOR" and node["type"] not in _OPERATOR_TYPES:
            raise SqlError(f"{node['type']} is not allowed in a filter.")
        elif kind == "FUNCTION":
            _check_function(node)


def _check_column(names: list[str], lambdas: frozenset[str]) -> None:
    path = [name.lower() for name in names]
    if path[0] in lambdas:
        return
    if path[0] == "alerts" and len(path) > 1:
        path = path[1:]
    if path[0] not in table.BY_NAME:
        near = [name for name in table.BY_NAME if path[0][:4] in name][:5]
        hint = f" Near it: {', '.join(near)}." if near else ""
        raise SqlError(f"There is no column {names[0]!r}.{hint}")


def _check_function(node: Node) -> None:
    name = str(node["function_name"]).lower()
    if node["schema"] or node["catalog"] or name not in FUNCTIONS:
        raise SqlError(
            f"The function {name} is not allowed in a filter. Those allowed: "
            f"{', '.join(sorted(FUNCTIONS - _OPERATORS))}."
        )
    if node["filter"] is not None or node["distinct"] or node["order_bys"]["orders"]:
        raise SqlError(f"{name} takes no FILTER, DISTINCT or ORDER BY.")


def _walk(
    node: Any, depth: int, lambdas: frozenset[str], within: bool = False
) -> Iterator[tuple[Node, int, frozenset[str]]]:
    """Give all expressions below a node, with how deep they are and which names lambdas gave them."""
    if isinstance(node, list):
        for each in node:
            yield from _walk(each, depth, lambdas, within)
        return
    if not isinstance(node, dict):
        return
    if "class" in node:
        yield node, depth, lambdas
        if node["class"] == "LAMBDA":
            if within:
                raise SqlError("A lambda within a lambda is not allowed: it could run for ever.")
            yield from _walk(node["expr"], depth + 1, lambdas | _parameters(node["lhs"]), True)
            return
        if node["class"] in ("CONSTANT", "TYPE"):
            return
    for key, value in node.items():
        if key != "order_bys" and isinstance(value, dict | list):
            yield from _walk(value, depth + 1, lambdas, within)


def _parameters(node: Node) -> frozenset[str]:
    nodes = [node] if node["class"] == "COLUMN_REF" else node.get("children", [])
    if node["class"] == "FUNCTION":
        nodes = [each.get("expression", each) for each in node["arguments"]]
    if not nodes or any(
        each["class"] != "COLUMN_REF" or len(each["column_names"]) != 1 for each in nodes
    ):
        raise SqlError("A lambda is written `lambda x: x > 1` or `lambda x, i: x > i`.")
    return frozenset(each["column_names"][0].lower() for each in nodes)


def _write(connection: duckdb.DuckDBPyConnection, node: Node) -> str:
    """Return an expression as DuckDB writes it: balanced, without comments."""
    statement = json.loads(_one(connection, "SELECT json_serialize_sql(?)", "SELECT 1"))
    statement["statements"][0]["node"]["select_list"] = [{**node, "alias": ""}]
    text = _one(connection, "SELECT json_deserialize_sql(?)", json.dumps(statement))
    assert text.startswith("SELECT ")
    return text.removeprefix("SELECT ")


def _one(connection: duckdb.DuckDBPyConnection, sql: str, value: str) -> str:
    return str(connection.execute(sql, [value]).fetchall()[0][0])
