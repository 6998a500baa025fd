"""The demonstration: abandoned carts from Shopify's webhooks to WhatsApp, end to end."""
