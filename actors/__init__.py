"""What runs on machines: workers, engines, sandboxes, graders, trainings."""
