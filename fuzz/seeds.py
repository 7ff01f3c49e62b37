"""Fills fuzz/corpus/TARGET with first inputs made from the repository's own files."""

import gzip
import json
import pathlib
import struct

ROOT = pathlib.Path(__file__).resolve().parent.parent
CORPUS = ROOT / "fuzz" / "corpus"
FIXTURES = ROOT / "tests" / "fixtures"
HELLO = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]


def seed(target, name, data):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def tiny_weights():
    """One layer of Llama, hidden size 4, two heads of which one is a key/value head."""
    shapes = {"model.embed_tokens.weight": [4, 4], "model.norm.weight": [4]}
    layer = "model.layers.0."
    for name, shape in [
        ("self_attn.q_proj", [4, 4]), ("self_attn.k_proj", [2, 4]), ("self_attn.v_proj", [2, 4]),
        ("self_attn.o_proj", [4, 4]), ("mlp.gate_proj", [4, 4]), ("mlp.up_proj", [4, 4]),
        ("mlp.down_proj", [4, 4]), ("input_layernorm", [4]), ("post_attention_layernorm", [4]),
    ]:
        shapes[f"{layer}{name}.weight"] = shape
    header, at = {}, 0
    for name, shape in shapes.items():
        n = 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + n]}
        at += n
    return json.dumps(header).encode(), at


def rows():
    prompt = {"id": "a", "prompt": "q"}
    chat = {"id": 7, "prompt": HELLO[:1], "tools": [{"name": "f"}]}
    preference = {"prompt_id": "a", "prompt": "q", "chosen": "c", "rejected": "r", "p_chosen": 0.7,
                  "p_first": 0.6, "p_second": 0.8, "margin": 1.0, "rationale": ["w"]}
    completion = {"prompt_id": "a", "prompt": "q", "index": 0, "completion": "c", "n_tokens": 1,
                  "log_prob": -1.0, "finished": True}
    comparison = {"prompt_id": "a", "judge": "j", "a": "x", "b": "y", "p_win": 0.5, "length_a": 1,
                  "length_b": 2}
    text = lines(prompt, chat, preference, completion, comparison)
    csv = b'id,prompt,completion\r\n1,"a ""b""\n",c\r\n2,"[{""role"":""user""}]",d\r\n'
    seed("rows", "jsonl", b"\0" + text)
    seed("rows", "array", b"\7" + json.dumps([prompt, preference]).encode())
    seed("rows", "csv", b"\1" + csv)
    seed("rows", "tsv", b"\2" + csv.replace(b",", b"\t"))
    seed("rows", "gzip", b"\4" + gzip.compress(text, mtime=0))
    seed("rows", "csv_gz", b"\6" + gzip.compress(csv, mtime=0))
    seed("rows", "parquet_head", b"\3PAR1" + struct.pack("<I", 8) + b"PAR1")
    hh = {"chosen": "\n\nHuman: q\n\nAssistant: a\n\nHuman: r\n\nAssistant: b",
          "rejected": "\n\nHuman: q\n\nAssistant: a\n\nHuman: r\n\nAssistant: c"}
    scored = {"instruction": "q", "completions": [{"response": "x", "overall_score": 3},
                                                  {"response": "y", "overall_score": 5}]}
    arena = {"question_id": 1, "winner": "model_a", "conversation_a": HELLO,
             "conversation_b": HELLO}
    unpaired = {"prompt": "q", "completion": "c", "label": True}
    chosen = {"chosen": HELLO, "rejected": HELLO[:1] + [{"role": "assistant", "content": "no"}]}
    for choice in range(4):
        row_sets = {"hh": [hh], "scored": [scored], "arena": [arena], "unpaired": [unpaired],
                    "chosen": [chosen], "explicit": [preference], "texts": [completion]}
        for name, found in row_sets.items():
            seed("pairs", f"{name}_{choice}", bytes([choice * 3]) + lines(*found))


def parquet():
    """A row of one number, a page of 4 bytes, written by hand; what pyarrow writes, where it is."""
    page = bytes.fromhex("150015081508 2c15021500150615060000 07000000")
    schema = bytes.fromhex("2c 3500180167150200 1502250018016100")
    column = bytes.fromhex("1502191500191801611500160216 2a162a260800")
    group = b"\x19\x1c\x26\x00\x1c" + column + bytes.fromhex("00162a160200")
    footer = bytes.fromhex("150219") + schema + bytes.fromhex("1602191c") + group + b"\0"
    inside(page, footer, "number")
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        return
    table = pyarrow.table({"prompt": ["q", None, "q"], "messages": [HELLO, [], HELLO[:1]],
                           "label": [True, False, None], "margin": [0.5, 1.0, -1.0]})
    for version in ["1.0", "2.0"]:
        for codec in ["none", "snappy", "gzip"]:
            sink = pyarrow.BufferOutputStream()
            pyarrow.parquet.write_table(table, sink, compression=codec, store_schema=False,
                                        data_page_version=version)
            file = sink.getvalue().to_pybytes()
            seed("parquet", f"file_{version}_{codec}", b"\0" + file)
            n = struct.unpack("<I", file[-8:-4])[0]
            inside(file[4:-8 - n], file[-8 - n:-8], f"inside_{version}_{codec}")


def inside(pages, footer, name):
    seed("parquet", name, b"\1" + struct.pack("<H", len(footer)) + pages + footer)


def main():
    rows()
    parquet()
    for path in (FIXTURES / "chat_templates").glob("*.jinja"):
        row = json.dumps({"prompt": HELLO, "tools": [{"type": "function"}]})
        seed("chat_template", path.stem, f"{row}\n{path.read_text()}")
    model = ROOT / "models" / "labeler-xs"
    for at, name in enumerate(["tokenizer.json", "tokenizer_config.json"]):
        seed("tokenizer", name, bytes([at]) + (model / name).read_bytes())
    for path in FIXTURES.glob("**/config.json"):
        seed("model_config", path.parent.name, path.read_bytes())
    header, n = tiny_weights()
    file = struct.pack("<Q", len(header)) + header + bytes(n)
    seed("weights", "file", b"\0" + file)
    seed("weights", "header", b"\1" + struct.pack("<H", n) + header)
    index = {"metadata": {}, "weight_map": {"a": "model-00001-of-00006.safetensors"}}
    seed("shard_index", "index", json.dumps(index))
    seed("shard_index", "outside", json.dumps({"weight_map": {"a": "../a", "b": "a"}}))
    adapter = FIXTURES / "adapters" / "llama"
    config = (adapter / "adapter_config.json").read_text()
    seed("adapter", "config", "\0" + config.replace("../../families/llama", "base"))
    file = (adapter / "adapter_model.safetensors").read_bytes()
    seed("adapter", "weights", b"\1" + file)
    n = struct.unpack("<Q", file[:8])[0]
    seed("adapter", "header", b"\2" + struct.pack("<H", len(file) - 8 - n) + file[8:8 + n])
    for path in (ROOT / "configs").glob("*.toml"):
        seed("run_file", path.stem, "seed=3\n" + path.read_text())
    for path in (ROOT / "src" / "label" / "prompts").glob("*.toml"):
        seed("prompt_file", path.stem, path.read_bytes())
    stage = {"sft": {"inputs": {"version": "1"}, "seconds": 1.0}}
    metric = {"stage": "sft", "step": 1, "time": 1.0, "loss": 2.0}
    manifest = {"step": 1, "inputs": "x", "files": {"state.json": "y"}}
    for at, data in enumerate([stage, metric, manifest, {"step": 1}, {"policies": {}}]):
        seed("run_folder", str(at), bytes([at]) + lines(data))
    answer = {"key": "k", "model": "m", "text": "1", "finish_reason": "stop", "tokens": [
        {"token": "1", "log_prob": -0.1, "top": [["1", -0.1], ["2", -2.0]]}],
        "prompt_tokens": 1, "completion_tokens": 1}
    seed("answers", "answer", lines(answer, answer))
    top = [{"token": "1", "logprob": -0.1}, {"token": " 2", "logprob": -2.0}]
    chat = {"choices": [{"message": {"content": "1"}, "finish_reason": "stop", "logprobs": {
        "content": [{"token": "1", "logprob": -0.1, "top_logprobs": top}]}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
    text = {"choices": [{"text": " 1", "logprobs": {"tokens": [" 1"], "token_logprobs": [-0.1],
                                                    "top_logprobs": [{"1": -0.1, "10": -1.0}]}}]}
    seed("endpoint_response", "chat", json.dumps(chat))
    seed("endpoint_response", "completions", json.dumps(text))


main()
