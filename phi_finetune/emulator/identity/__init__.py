"""The resource family of sign-in: tokens, and the places that give them."""
