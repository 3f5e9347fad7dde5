"""Decorated functions stay plain functions: `python -m unittest` calls them without a server."""

import unittest

import app


class EmbeddingsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.models = {"encoder": app.encoder(), "tokenizer": app.tokenizer()}

    def test_a_kitten_is_nearer_to_a_cat_than_a_car_is(self):
        near = app.similarity("a cat", "a kitten", **self.models)
        far = app.similarity("a cat", "a car", **self.models)

        self.assertGreater(near, far)

    def test_a_batch_gives_what_single_texts_give(self):
        texts = ["a cat", "a much longer text about a cat that sat on a mat"]
        together = app.embed(texts, **self.models)
        alone = [app.embed([text], **self.models)[0] for text in texts]

        for one, other in zip(together, alone, strict=True):
            self.assertLess(max(abs(x - y) for x, y in zip(one, other, strict=True)), 1e-5)


if __name__ == "__main__":
    unittest.main()
