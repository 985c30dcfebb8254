/*
 * See shim_serial.h. Owns the interrupt handler and its two buffers; what the bytes mean is Rust's.
 */
#include "shim_serial.h"

#include <errno.h>

#include <zephyr/device.h>
#include <zephyr/devicetree.h>
#include <zephyr/drivers/uart.h>
#include <zephyr/kernel.h>
#include <zephyr/sys/ring_buffer.h>

#define LINE_NODE DT_CHOSEN(sensor_provisioning_uart)

#if DT_NODE_EXISTS(LINE_NODE)

static const struct device *const line = DEVICE_DT_GET(LINE_NODE);
RING_BUF_DECLARE(received, SHIM_SERIAL_BUFFER_BYTES);
RING_BUF_DECLARE(to_send, SHIM_SERIAL_BUFFER_BYTES);
static struct k_spinlock lock;

static void receive(void)
{
	uint8_t byte;

	while (uart_fifo_read(line, &byte, 1) == 1) {
		/* What finds no room is lost: the frame fails its check and the factory asks again. */
		(void)ring_buf_put(&received, &byte, 1);
	}
}

static void send(void)
{
	uint8_t *data;
	uint32_t len = ring_buf_get_claim(&to_send, &data, SHIM_SERIAL_BUFFER_BYTES);
	int sent = len > 0 ? uart_fifo_fill(line, data, len) : 0;

	(void)ring_buf_get_finish(&to_send, sent > 0 ? sent : 0);
	if (len == 0) {
		uart_irq_tx_disable(line);
	}
}

static void on_interrupt(const struct device *dev, void *context)
{
	ARG_UNUSED(context);
	K_SPINLOCK(&lock) {
		/* Once, not until nothing is pending: some drivers call an idle transmitter pending for ever. */
		if (uart_irq_update(dev) > 0) {
			if (uart_irq_rx_ready(dev) > 0) {
				receive();
			}
			if (uart_irq_tx_ready(dev) > 0) {
				send();
			}
		}
	}
}

int shim_serial_open(void)
{
	int error;

	if (!device_is_ready(line)) {
		return -ENODEV;
	}
	error = uart_irq_callback_user_data_set(line, on_interrupt, NULL);
	if (error == 0) {
		uart_irq_rx_enable(line);
	}
	return error;
}

size_t shim_serial_read(uint8_t *data, size_t room)
{
	size_t len = 0;

	K_SPINLOCK(&lock) {
		len = ring_buf_get(&received, data, room);
	}
	return len;
}

size_t shim_serial_write(const uint8_t *data, size_t len)
{
	size_t taken = 0;

	K_SPINLOCK(&lock) {
		taken = ring_buf_put(&to_send, data, len);
	}
	uart_irq_tx_enable(line);
	return taken;
}

void shim_serial_wipe(void)
{
	K_SPINLOCK(&lock) {
		ring_buf_reset(&received);
		/* An injected key may have come through here. */
		for (volatile uint8_t *byte = received.buffer; byte < received.buffer + SHIM_SERIAL_BUFFER_BYTES; byte++) {
			*byte = 0;
		}
	}
}

void shim_serial_close(void)
{
	uart_irq_rx_disable(line);
	shim_serial_wipe();
}

#else

int shim_serial_open(void)
{
	return -ENODEV;
}

size_t shim_serial_read(uint8_t *data, size_t room)
{
	ARG_UNUSED(data);
	ARG_UNUSED(room);
	return 0;
}

size_t shim_serial_write(const uint8_t *data, size_t len)
{
	ARG_UNUSED(data);
	return len;
}

void shim_serial_wipe(void)
{
}

void shim_serial_close(void)
{
}

#endif
