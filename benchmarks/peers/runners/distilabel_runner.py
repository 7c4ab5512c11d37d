"""distilabel: one text-generation task with its OpenAI client, its own cache."""

from __future__ import annotations

from distilabel.models import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import TextGeneration
from task import FLIGHT, MODEL, arguments, prompt_of


def main() -> None:
    """Start or continue."""
    asked = arguments()
    rows = [{"instruction": prompt_of(row)} for row in range(asked.rows)]
    with Pipeline(name="peers", cache_dir=str(asked.out / "cache")) as pipeline:
        load = LoadDataFromDicts(data=rows, batch_size=FLIGHT)
        generate = TextGeneration(
            llm=OpenAILLM(model=MODEL, base_url=asked.url, api_key="none"),
            input_batch_size=FLIGHT,
        )
        load >> generate
    made = pipeline.run(use_cache=True)
    made.save_to_disk(str(asked.out / "rows"))


if __name__ == "__main__":
    main()
