"""The paper's tables as one run: the trainings and evaluations they need, their execution, and the page."""
