"""What a TFLite runtime answers to the cases of tests/tfl8_cases.py: by kind of layer and resolver, the values compared
and how many differ, for each arithmetic. Runs where there are only NumPy and the runtime: an emulated ARM.

    python tfl8_answers.py CASES.pickle MODULE
"""

import importlib
import json
import pickle
import sys

RESOLVERS = {"default": "AUTO", "reference": "BUILTIN_REF", "builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES"}


def main():
    path, name = sys.argv[1:]
    module = importlib.import_module(f"{name}.interpreter")
    found = {}
    with open(path, "rb") as file:
        cases = pickle.load(file)
    for kind, data, xs, answers, cells in cases:
        for resolver, member in RESOLVERS.items():
            chosen = getattr(module.OpResolverType, member)
            run = module.Interpreter(model_content=data, num_threads=1, experimental_op_resolver_type=chosen)
            run.allocate_tensors()
            run.reset_all_variables()
            for row, x in zip(run.get_input_details(), xs):
                run.set_tensor(row["index"], x)
            run.invoke()
            ys = [run.get_tensor(row["index"]) for row in run.get_output_details()]
            wrong_cells = sum(int((run.get_tensor(k) != c).sum()) for k, c in cells.items())
            row = found.setdefault(kind, {}).setdefault(resolver, {"values": 0, "wrong": {}})
            row["values"] += sum(y.size for y in ys) + sum(c.size for c in cells.values())
            for arithmetic, expected in answers.items():
                wrong = sum(int((y != e).sum()) for y, e in zip(ys, expected)) + wrong_cells
                row["wrong"][arithmetic] = row["wrong"].get(arithmetic, 0) + wrong
    print(json.dumps(found))


if __name__ == "__main__":
    main()
