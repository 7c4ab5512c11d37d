"""distilabel: one text-generation task with its OpenAI client, its own cache."""

from __future__ import annotations

from distilabel.models import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import TextGeneration
from task import FLIGHT, MODEL, arguments, prompt_of


def main() -> None:
    """Start or continue."""
    given = arguments()
    rows = [{"instruction": prompt_of(row)} for row in range(given.rows)]
    with Pipeline(name="peers", cache_dir=str(given.out / "cache")) as pipeline:
        load = LoadDataFromDicts(data=rows, batch_size=FLIGHT)
        generate = TextGeneration(
            llm=OpenAILLM(model=MODEL, base_url=given.url, api_key="none"),
            input_batch_size=FLIGHT,
        )
        load >> generate
    dataset = pipeline.run(use_cache=True)
    dataset.save_to_disk(str(given.out / "rows"))


if __name__ == "__main__":
    main()
