"""Files of every exportable model and every network, beside PyTorch. It takes a minute.

pytest tests/exporting/check_every_graph.py
"""


def test_every_graph_gives_the_numbers_of_pytorch_in_batches_of_any_size(built, compare):
    compare(list(built))
