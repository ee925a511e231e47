"""The paper's tables: plan of trainings and evaluations, runner, and results page."""
