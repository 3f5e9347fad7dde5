"""Decorated functions stay plain functions: `python -m unittest` calls them without a server."""

import unittest

import app


class ChatTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.models = {"llm": app.llm(), "tokenizer": app.tokenizer()}

    def test_it_knows_the_capital_of_france(self):
        self.assertIn("Paris", app.chat("What is the capital of France?", **self.models))

    def test_a_stream_adds_up_to_the_answer(self):
        streamed = "".join(app.stream("Say hello.", **self.models))

        self.assertEqual(streamed.strip(), app.chat("Say hello.", **self.models))


if __name__ == "__main__":
    unittest.main()
