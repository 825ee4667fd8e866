"""What a running pipeline tells about itself: metrics, health and structured logs."""
