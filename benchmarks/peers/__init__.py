"""Our times and memory beside those of AdapterHub, PEFT and plain transformers."""
