"""Drawing: documents, events and findings as calm lines. No decisions are made here."""
