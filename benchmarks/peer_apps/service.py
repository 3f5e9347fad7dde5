"""The chat project as a BentoML service."""

import app
import bentoml
import facts as project_facts


@bentoml.service
class Chat:
    def __init__(self):
        self.llm = app.llm()
        self.tokenizer = app.tokenizer()

    @bentoml.api
    def chat(self, message: str) -> dict:
        return {"prompt": app.PROMPT, "answer": app.chat(message, self.llm, self.tokenizer)}

    @bentoml.api
    def prompt(self) -> dict:
        return {"prompt": app.PROMPT}

    @bentoml.api
    def facts(self) -> dict:
        return project_facts.answers()
