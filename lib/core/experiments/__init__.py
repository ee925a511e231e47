"""The paper's tables as one run: which trainings and evaluations they need, their execution, and the page of results."""
