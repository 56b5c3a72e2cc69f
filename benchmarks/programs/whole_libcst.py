"""Floor: libcst parses a module, visits and prints it; leaked names are hidden from it first."""

import sys

import libcst


class Repair(libcst.CSTTransformer):
    """What a codemod would do: look at each call."""

    def leave_Call(self, original_node: libcst.Call, updated_node: libcst.Call) -> libcst.Call:
        function = updated_node.func
        if isinstance(function, libcst.Name) and function.value == "aten_clamp_min":
            name = libcst.parse_expression("torch.clamp_min")
            return updated_node.with_changes(func=name)
        return updated_node


with open(sys.argv[1], encoding="utf-8") as source:
    module = libcst.parse_module(source.read().replace("aten::", "aten_"))
with open(sys.argv[2], "w", encoding="utf-8") as target:
    target.write(module.visit(Repair()).code)
