"""Explain the words of report.html that a reader may not know."""

from __future__ import annotations

# key, by which the page refers to a word -> the word, and what it means here
TERMS = {
    "kl": ("KL", "How far the file's distribution over the next token is from the source's, KL(source ‖ file), in "
           "nats. 0 means that both are the same."),
    "nats": ("nats", "The unit of KL and of log-probabilities with the natural logarithm: 1 nat = 1.44 bits."),
    "top1": ("top-1", "The token with the largest logit. Top-1 changed: the share of positions at which source and "
             "file put different tokens first."),
    "logit": ("logit", "The score that a model gives a token before softmax turns scores into probabilities."),
    "perplexity": ("perplexity", "exp of the mean negative log-probability of a text's tokens: lower is better. The "
                   "ratio is the file's perplexity divided by the source's."),
    "q8_0": ("Q8_0", "A storage of weights: int8 numbers in groups that share one float32 scale, the group's largest "
             "magnitude divided by 127."),
    "bits": ("bits a weight", "The size of the whole file in bits, divided by the number of parameters. float32 has "
             "32, Q8_0 in groups of 64 has 8.5."),
    "fp32": ("float32 activations", "The numbers between operations are float32; weights are read as float32."),
    "int8": ("int8 activations", "Before each matrix product, the inputs are rounded to int8 in groups, as runq.c "
             "does it."),
    "bound": ("error bound", "The largest error that float32 rounding can cause in one operation. It is proved for "
              "every input, so an error over bound beyond 1 is a mistake."),
    "sigma": ("standard deviation (sigma)", "The typical size of the random differences that rounding causes in a "
              "healthy file. The limit counts how many of them a difference may be."),
    "exact": ("exact", "A kind of limit: nothing may differ, and no policy can change that."),
    "rigorous": ("rigorous", "A kind of limit: a proof says that no healthy engine exceeds it, whatever its input."),
    "statistical": ("statistical", "A kind of limit: a healthy file exceeds it with a small, known probability."),
    "first-order": (
        "first-order",
        "A kind of limit: an estimate that is right for small errors, used in reports of earlier versions.",
    ),
    "policy": ("policy", "A kind of limit: you choose it. The default policy limits no cost of storage."),
    "snr": ("SNR", "Signal to noise ratio: the weights' power over the power of the error that storage adds, in dB. "
            "6 dB more means half the error."),
    "rms": ("RMS", "Root mean square: the square root of the mean of the squares."),
    "greedy": ("greedy text", "Each token is the one with the largest logit. Where it is less than 10 standard "
               "deviations of rounding above the second, correct engines may differ."),
    "mirror": ("mirror, fast", "Two orders in which the C reader adds numbers. mirror gives run.c's bits; fast gives "
               "the same bits on every processor."),
    "window": ("window", "A run of tokens that the model is fed from its first position: text, random ids, or the "
               "same fixed ids in every verdict."),
    "baseline": ("baseline", "The report of an earlier release, with which this one is compared window by window."),
}  # fmt: skip

# bound or label of the page -> key
KEYS = {
    "exact": "exact",
    "rigorous": "rigorous",
    "statistical": "statistical",
    "first-order": "first-order",
    "policy": "policy",
    "mean KL, nats": "kl",
    "largest KL, nats": "kl",
    "top-1 changed": "top1",
    "largest logit error": "logit",
    "perplexity ratio": "perplexity",
    "largest error over bound": "bound",
    "largest error, standard deviations": "sigma",
    "distance from honest storage, standard deviations": "sigma",
    "KL in nats": "kl",
}
