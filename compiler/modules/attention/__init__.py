"""Attention modules: grouped-query, cross and latent attention, relative position bias, localized filtering."""
