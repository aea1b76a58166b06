"""`text/`: decoder-only models of random weights as Optimum exports them, and `<model>.json`: what transformers writes behind prompts.

`llama` is a chat model (grouped queries, rotary positions, a chat template, its own rules of generation), `gpt2` continues texts
(learned positions, no template). Runs in an environment of its own, whose transformers is one that Optimum knows:

    pip install torch==2.15.0 transformers==4.57.6 optimum==2.1.0 optimum-onnx==0.1.0 onnx==1.23.2
"""

import json
import shutil

import torch
from optimum.exporters.onnx import onnx_export_from_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from places import FIXTURES
from two_towers import strip_traces

FOLDER = FIXTURES / "text"
SPREAD = 6
VOCABULARY = 400
CORPUS = [
    "The invoice names a supplier and an amount, and the ledger has the same amount on another day.",
    "A scratch runs across the upper edge of the part; the line was stopped at nine.",
    "Which supplier sent this invoice? The one whose name stands above the address.",
    "The borrower pays late in winter, but has paid every loan so far.",
    '{"supplier": "Northern Paper", "amount": 1200.50, "is_paid": true, "lines": [1, 2, 3]}',
    "Größe, Maß und Übergang: naïve façades cost 20 € more, said 東京.",
]
PROMPTS = [
    "The invoice",
    "Which supplier sent this invoice?",
    "A scratch",
    "The borrower pays late in winter, but has paid every loan so far. The ledger",
    "20 € for 東京 🙂",
    "",
    "and\n\n  the",
    "The same amount " * 12,
]
SYSTEM = "The ledger has each amount on one day. Which supplier sent the invoice, and was it paid?"
TEMPLATE = """{{ bos_token }}{% for message in messages %}{% if message['role'] not in ['system', 'user', 'assistant'] %}\
{{ raise_exception('unknown role ' + message['role']) }}{% endif %}<|{{ message['role'] }}|>
{{ message['content'] | trim }}{{ eos_token }}
{% endfor %}{% if add_generation_prompt %}<|assistant|>
{% endif %}"""


def tokenizer(special: list) -> PreTrainedTokenizerFast:
    """Byte-level BPE, as GPT-2's and Llama 3's."""
    own = Tokenizer(models.BPE())
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    own.decoder = decoders.ByteLevel()
    own.post_processor = processors.ByteLevel(trim_offsets=False)
    own.train_from_iterator(CORPUS * 3, trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    return PreTrainedTokenizerFast(tokenizer_object=own, clean_up_tokenization_spaces=False)


def spread(model: torch.nn.Module) -> torch.nn.Module:
    """Larger weights than untrained ones, so that the likeliest token is so by far more than rounding."""
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight *= SPREAD
    return model.eval()


def llama() -> tuple:
    own = tokenizer(["<s>", "</s>", "<pad>", "<|system|>", "<|user|>", "<|assistant|>"])
    own.bos_token, own.eos_token, own.pad_token = "<s>", "</s>", "<pad>"
    own.chat_template = TEMPLATE
    torch.manual_seed(7)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=len(own), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=256, bos_token_id=0, eos_token_id=1, pad_token_id=2))
    spread(model)
    model.generation_config = GenerationConfig(bos_token_id=0, eos_token_id=1, pad_token_id=2, repetition_penalty=1.1)
    # A model that was not trained does not end by itself: one of the tokens that it writes is another end.
    end = written(model, own, ids_of(own, PROMPTS[1]), {"max_new_tokens": 10})["tokens"][-1]
    model.generation_config.eos_token_id = [1, end]
    return own, model


def gpt2() -> tuple:
    own = tokenizer(["<|endoftext|>"])
    own.bos_token = own.eos_token = "<|endoftext|>"
    torch.manual_seed(8)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(own), n_embd=32, n_layer=2, n_head=4, n_positions=128, bos_token_id=0, eos_token_id=0))
    return own, spread(model)


ASKED = {
    "greedy": {"max_new_tokens": 24},
    "beams": {"max_new_tokens": 12, "num_beams": 4},
    "long_beams": {"max_new_tokens": 12, "num_beams": 3, "length_penalty": 2.0, "early_stopping": True},
    "no_repeats": {"max_new_tokens": 24, "no_repeat_ngram_size": 2, "repetition_penalty": 1.3},
}
# Closed answers: some that none of the others begins with, and some that others do.
LABELS = {"apart": ["paid", "late", "the same amount"], "nested": ["paid", "paid so far", "20 €", "late"]}
# What sampling chooses among; the likelihoods after temperature and cuts.
SAMPLED = {
    "top_k": {"temperature": 0.7, "top_k": 5, "top_p": 1.0},
    "top_p": {"temperature": 1.5, "top_k": 0, "top_p": 0.8},
    "min_p": {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.2},
}


def ids_of(own: PreTrainedTokenizerFast, prompt: str, system: str | None = None) -> list:
    """What the model sees: the chat, or the text as it is, or where that is nothing the token that begins texts."""
    if own.chat_template:
        messages = [{"role": "system", "content": system}] if system else []
        return own.apply_chat_template(messages + [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=True)
    return own(prompt)["input_ids"] or [own.bos_token_id]


def written(model, own, ids: list, asked: dict) -> dict:
    made = model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), do_sample=False,
                          pad_token_id=own.pad_token_id or own.eos_token_id, return_dict_in_generate=True, **asked)
    tokens = made.sequences[0, len(ids):].tolist()
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    length = next((place for place, token in enumerate(tokens) if token in ends), None)
    reason = "length" if length is None else "stop"
    tokens = tokens if length is None else tokens[:length + 1]
    return {"tokens": tokens, "finish_reason": reason, "text": own.decode(tokens[:length], skip_special_tokens=True),
            "logprob": logprob(model, ids, tokens)}


def logprob(model, ids: list, tokens: list) -> float:
    """The sum of the tokens' log-probabilities as the model gives them, before any rule of generation."""
    with torch.no_grad():
        logits = model(torch.tensor([ids + tokens])).logits[0].double()
    scores = logits.log_softmax(-1)[len(ids) - 1:-1]
    return float(scores.gather(1, torch.tensor(tokens)[:, None]).sum())


def closed(labels: list, likely, ends: list) -> list:
    """Log-probabilities of `labels`, each as tokens, by `likely(tokens)`, the log-probabilities `[tokens, vocabulary]` of each and of what
    is behind it; of an end too, where one label begins another."""
    nested = any(one != other and other[:len(one)] == one for one in labels for other in labels)
    of = lambda scores, tokens: float(scores[:len(tokens)].gather(1, torch.tensor(tokens)[:, None]).sum())
    found = [(likely(tokens), tokens) for tokens in labels]
    return [of(scores, tokens) + (float(scores[len(tokens), ends].logsumexp(-1)) if nested else 0) for scores, tokens in found]


def labelled(model, own, ids: list) -> dict:
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    # A chat is answered, a text goes on behind a space.
    space = "" if own.chat_template else " "

    def likely(tokens: list) -> torch.Tensor:
        with torch.no_grad():
            return model(torch.tensor([ids + tokens])).logits[0, len(ids) - 1:].double().log_softmax(-1)

    return {name: closed([own(space + label, add_special_tokens=False)["input_ids"] for label in labels], likely, ends)
            for name, labels in LABELS.items()}


def likelihoods(model, ids: list, asked: dict) -> list:
    """Of the first token, by transformers' own processors: `[probability, log-probability without cuts]` of those that can be drawn."""
    made = model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), do_sample=True, max_new_tokens=1,
                          pad_token_id=0, return_dict_in_generate=True, output_scores=True,
                          output_logits=True, **asked)
    shares, logprobs = made.scores[0][0].double().softmax(-1), made.logits[0][0].double().log_softmax(-1)
    return [[float(share), float(logprob)] for share, logprob in zip(shares, logprobs) if share > 0]


def export(name: str, own, model) -> None:
    place = FOLDER / name
    shutil.rmtree(place, ignore_errors=True)
    model.config.architectures = [type(model).__name__]
    onnx_export_from_model(model, place, task="text-generation-with-past", do_validation=False)
    strip_traces(place / "model.onnx")
    own.save_pretrained(place)
    model.generation_config.save_pretrained(place)
    (place / "special_tokens_map.json").unlink(missing_ok=True)


def main() -> None:
    torch.set_num_threads(1)
    for name, (own, model) in {"llama": llama(), "gpt2": gpt2()}.items():
        export(name, own, model)
        prompts = [{"prompt": prompt, "ids": ids_of(own, prompt)} for prompt in PROMPTS]
        found = {"prompts": prompts} | {
            asked: [written(model, own, one["ids"], options) for one in prompts] for asked, options in ASKED.items()
        } | {"sampled": {asked: likelihoods(model, prompts[1]["ids"], options) for asked, options in SAMPLED.items()}}
        found["labels"] = LABELS
        # The space before a label is its own.
        found["closed"] = [labelled(model, own, one["ids"] if own.chat_template else ids_of(own, one["prompt"].rstrip(" "))) for one in prompts]
        if own.chat_template:
            # Long enough for all prompts' common start to be read once.
            found["system"] = [written(model, own, ids_of(own, one, SYSTEM), {"max_new_tokens": 24}) for one in PROMPTS]
        (FOLDER / f"{name}.json").write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n")
        print(name, [one["text"] for one in found["greedy"]], [one["finish_reason"] for one in found["greedy"]])


if __name__ == "__main__":
    main()
