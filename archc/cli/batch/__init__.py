"""The rooms of `archc run --batch`: lines of requests, the file of results, and the loop between them."""
