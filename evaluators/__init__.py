"""What is solved and how an answer is judged: one folder per problem, plus the contract they share."""
