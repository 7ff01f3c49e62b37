"""Opens folders with `transformers` and `peft` and computes their logits; makes adapters with `peft`.

    python tests/python/open_checkpoints.py JOBS.json ANSWERS.json

A job has a `kind`, a `path`, and `prompts`. Kinds: `lm`; `lm_bf16`, the same of a folder that is in
bf16 and says so; `score`, all prompts in one batch, padded
on the right; `lora` and `lora_score`, the folder of an adapter; `make_lora` and `make_lora_score`,
which put a random adapter on the model in `base` and write it to `path`. An answer is a list, one
entry a prompt: logits after every token as rows, or one score.
"""

import json
import sys

import peft
import torch
import transformers as hf

EXACT = dict(attn_implementation="eager", dtype=torch.float32)
CLASSIFIER = dict(num_labels=1)


def logits(model, prompts):
    run = lambda prompt: model(torch.tensor([prompt]), use_cache=False).logits[0]
    return [run(prompt).tolist() for prompt in prompts]


def scores(model, prompts):
    pad = model.config.pad_token_id
    width = max(map(len, prompts))
    rows = torch.tensor([prompt + [pad] * (width - len(prompt)) for prompt in prompts])
    real = torch.tensor([[1] * len(prompt) + [0] * (width - len(prompt)) for prompt in prompts])
    found = model(rows, attention_mask=real, use_cache=False).logits
    assert found.shape == (len(prompts), 1), found.shape
    return found[:, 0].tolist()


def opened(load, path, **options):
    """Without a weight that was missing, left over or of another shape."""
    model, report = load(path, output_loading_info=True, **options)
    faults = {name: sorted(map(str, found)) for name, found in report.items() if found}
    assert not faults, f"{path}: {faults}"
    return model.eval()


def adapter(path, classifier):
    config = peft.PeftConfig.from_pretrained(path)
    auto = hf.AutoModelForSequenceClassification if classifier else hf.AutoModelForCausalLM
    base = auto.from_pretrained(config.base_model_name_or_path, **EXACT, **(CLASSIFIER if classifier else {}))
    model = peft.PeftModel.from_pretrained(base, path)
    return model.eval()


def make(job, classifier):
    torch.manual_seed(0)
    auto = hf.AutoModelForSequenceClassification if classifier else hf.AutoModelForCausalLM
    base = auto.from_pretrained(job["base"], **EXACT, **(CLASSIFIER if classifier else {}))
    task = "SEQ_CLS" if classifier else "CAUSAL_LM"
    config = peft.LoraConfig(r=3, lora_alpha=5, target_modules="all-linear", task_type=task, init_lora_weights=False)
    model = peft.get_peft_model(base, config).eval()
    model.save_pretrained(job["path"])
    return model


def answer(job):
    kind, path, prompts = job["kind"], job["path"], job["prompts"]
    if kind == "lm_bf16":
        stored = opened(hf.AutoModelForCausalLM.from_pretrained, path, dtype="auto")
        assert stored.dtype == torch.bfloat16, stored.dtype
        assert {weight.dtype for weight in stored.parameters()} == {torch.bfloat16}
    if kind in ("lm", "lm_bf16"):
        return logits(opened(hf.AutoModelForCausalLM.from_pretrained, path, **EXACT), prompts)
    if kind == "score":
        model = opened(hf.AutoModelForSequenceClassification.from_pretrained, path, **EXACT)
        return scores(model, prompts)
    classifier = kind.endswith("_score")
    model = make(job, classifier) if kind.startswith("make") else adapter(path, classifier)
    return scores(model, prompts) if classifier else logits(model, prompts)


if __name__ == "__main__":
    jobs = json.load(open(sys.argv[1]))
    with torch.no_grad():
        answers = [answer(job) for job in jobs]
    json.dump(answers, open(sys.argv[2], "w"))
