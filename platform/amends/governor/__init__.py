"""Cases from locating to closing: the verbs that people and the command line call."""
