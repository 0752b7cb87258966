"""The protocol of mlarena-sdk 4.6.0: challenges and submissions, over the tables and rules of the older protocol."""
