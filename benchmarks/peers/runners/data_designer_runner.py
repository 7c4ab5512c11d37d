"""NeMo Data Designer: one text column from seed rows."""

from __future__ import annotations

import data_designer.config as dd
import pandas as pd
from data_designer.interface import DataDesigner
from task import FLIGHT, MODEL, arguments, prompt_of


def main() -> None:
    """Start or continue."""
    given = arguments()
    provider = dd.ModelProvider(
        name="local", endpoint=given.url, provider_type="openai", api_key="none"
    )
    model = dd.ModelConfig(
        alias="asked",
        model=MODEL,
        provider="local",
        inference_parameters=dd.ChatCompletionInferenceParams(max_parallel_requests=FLIGHT),
        skip_health_check=True,
    )
    builder = dd.DataDesignerConfigBuilder(model_configs=[model])
    seeds = pd.DataFrame({"asked": [prompt_of(row) for row in range(given.rows)]})
    builder.with_seed_dataset(dd.DataFrameSeedSource(df=seeds))
    builder.add_column(
        dd.LLMTextColumnConfig(name="answer", prompt="{{ asked }}", model_alias="asked")
    )
    designer = DataDesigner(artifact_path=given.out / "artifacts", model_providers=[provider])
    designer.create(builder, num_records=given.rows, dataset_name="rows")


if __name__ == "__main__":
    main()
