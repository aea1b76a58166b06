"""Texts that no corpus offers: the corners of the tokenizer."""

EDGE_TEXTS = [
    "",
    " ",
    "     \t \n  ",
    "a",
    ".",
    "?!?!?!",
    "0",
    "3.14159265358979323846",
    "\U0001f600",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 family \U0001f1eb\U0001f1f7 flag \U0001f44d\U0001f3fd",
    "e\u0301cole \u00e9cole \u00c9COLE",  # decomposed, composed, upper case
    "Z\u0351\u036b\u0343\u036a\u0302\u036b\u033d\u034f\u0334\u0319\u0324\u031ea\u0321lgo\u035e",
    "nul \x00 bell \x07 escape \x1b delete \x7f next line \x85 end",
    "\ufeffbyte order mark",
    "replacement \ufffd character",
    "zero\u200bwidth\u200cjoin\u200dsoft\u00adhyphen",
    "non\u00a0breaking\u202fspaces\u3000wide",
    "\u202eright to left override\u202c",
    "line one\r\nline two\rline three\u2028line four\u2029end",
    "x" * 99 + " " + "y" * 100 + " " + "z" * 101,  # the word-piece limit is 100 characters a word
    "supercalifragilistic" * 60,
    "[CLS] a [SEP] [MASK] [PAD] [UNK] ##ing",
    "[cls] lower case is not special",
    "English \u4e2d\u6587 \u0440\u0443\u0441\u0441\u043a\u0438\u0439 \u05e2\u05d1\u05e8\u05d9\u05ea "
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u0939\u093f\u0928\u094d\u0926\u0940 \u65e5\u672c\u8a9e "
    "\ud55c\uad6d\uc5b4 \u03b5\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac \u0e44\u0e17\u0e22",
    "\uff26\uff35\uff2c\uff2c \uff57\uff49\uff44\uff54\uff48 \uff11\uff12\uff13",
    "\ufb01ligature \u2460 \u00bd \u2122 \u212b \u0130stanbul \u0131 \u00df \u1e9e",
    "\U0001d4ee\U0001d4ef math \U00020000\U0002a6d6 rare ideographs",
    "\uac00\u1100\u1161 composed and decomposed Hangul",
    "na\u00efve caf\u00e9 \u2014 \u201cquotes\u201d \u2026 \u20ac5",
    "user@example.com https://example.com/a?b=c&d=%20#e",
    "C:\\path\\to\\file.txt\t<tag attr='x'>&amp;</tag>",
    "don't can't won't it's o'clock",
    "UPPER lower MiXeD",
    "word " * 253 + "last",  # 254 words and two special tokens: exactly 256
    "word " * 254 + "last",  # one token too many
    "\u4e2d" * 300,
    "\ue000 private \uffff \U0010ffff noncharacters",
    "\U0001f600" * 40,
]
