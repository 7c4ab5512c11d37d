"""Bespoke Curator over LiteLLM, its own request files and cache."""

from __future__ import annotations

import os

from task import FLIGHT, MODEL, arguments, prompt_of


def main() -> None:
    """Start or continue."""
    given = arguments()
    os.environ["CURATOR_CACHE_DIR"] = str(given.out / "cache")
    os.environ["TELEMETRY_ENABLED"] = "false"
    os.environ["CURATOR_DISABLE_RICH_DISPLAY"] = "1"
    os.environ["HOSTED_VLLM_API_BASE"] = given.url
    os.environ["HOSTED_VLLM_API_KEY"] = "none"
    from bespokelabs import curator

    model = curator.LLM(
        model_name=f"hosted_vllm/{MODEL}",
        backend="litellm",
        backend_params={
            "base_url": given.url,
            "max_requests_per_minute": 1_000_000,
            "max_tokens_per_minute": 1_000_000_000,
            "max_concurrent_requests": FLIGHT,
        },
    )
    model([prompt_of(row) for row in range(given.rows)])


if __name__ == "__main__":
    main()
