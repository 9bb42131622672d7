"""The packaged demo: a small generated English world, an LM pretrained on it, and four downstream tasks.

Reading order: `lexicon` (words), `world` (people and scenes), `stories`, `notes` and `talk` (documents), `corpus`
(their mixture), `tokenizer`, `pretrain` (the program that made ``model/``), then `mood`, `question`, `where` and
`dialect`, gathered in `tasks`. Importing the package loads none of them, and only `pretrain` needs torch. See
README.md in this folder for details.
"""
