"""A GGUF file with every tensor in float32, for llama_cpp_tokens.py.

    python -P f32_gguf.py MODEL.gguf OUT.gguf

-P, because PyPI's gguf has the name of a program beside this one.
"""

from __future__ import annotations

import sys

import gguf


def main() -> None:
    model, out = sys.argv[1:]
    reader, writer = gguf.GGUFReader(model), gguf.GGUFWriter(out, "llama")
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            _copy(field, writer)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, gguf.dequantize(tensor.data, tensor.tensor_type))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _copy(field: gguf.ReaderField, writer: gguf.GGUFWriter) -> None:
    kind, *of_items = field.types
    # 0: every tensor in float32
    value = 0 if field.name == "general.file_type" else field.contents()
    writer.add_key_value(field.name, value, kind, sub_type=of_items[-1] if of_items else None)


if __name__ == "__main__":
    main()
