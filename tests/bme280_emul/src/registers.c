/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The emulated BME280 seen from the bus, without a driver: register map, SPI protocol, modes and
 * timing after the datasheet BST-BME280-DS002.
 */

#include <string.h>

#include <zephyr/drivers/spi.h>
#include <zephyr/ztest.h>

#include "bme280_emul_internal.h"
#include "fixture.h"

#define OPERATION (SPI_WORD_SET(8) | SPI_TRANSFER_MSB)

#define REG_CALIB     0x88
#define REG_CALIB_HUM 0xE1
#define REG_ID        0xD0
#define REG_RESET     0xE0
#define REG_CTRL_HUM  0xF2
#define REG_STATUS    0xF3
#define REG_CTRL_MEAS 0xF4
#define REG_CONFIG    0xF5
#define REG_DATA      0xF7

#define MEASURING 0x08
#define IM_UPDATE 0x01

/* Oversampling x1 for all: 1 + 2 + 2.5 + 2.5 = 8 ms. x16 for all: 1 + 32 + 32.5 + 32.5 = 98 ms. */
#define X1_SLEEP   0x24
#define X1_FORCED  0x25
#define X1_NORMAL  0x27
#define X16_FORCED 0xB5
#define X16_NORMAL 0xB7
#define HUM_X1     0x01
#define HUM_X16    0x05

static const struct emul *const chip = CHIP(bme280_bare);
static const uint8_t data_after_reset[8] = {0x80, 0, 0, 0x80, 0, 0, 0x80, 0};

static int transceive(spi_operation_t operation, uint32_t frequency, const uint8_t *tx, uint8_t *rx,
		      size_t size)
{
	const struct device *bus = DEVICE_DT_GET(DT_BUS(DT_NODELABEL(bme280_bare)));
	struct spi_config config = {
		.frequency = frequency,
		.operation = operation,
		.slave = DT_REG_ADDR(DT_NODELABEL(bme280_bare)),
	};
	struct spi_buf tx_buf = {.buf = (void *)tx, .len = size};
	struct spi_buf rx_buf = {.buf = rx, .len = size};
	struct spi_buf_set tx_set = {.buffers = &tx_buf, .count = 1};
	struct spi_buf_set rx_set = {.buffers = &rx_buf, .count = 1};

	return spi_transceive(bus, &config, &tx_set, rx == NULL ? NULL : &rx_set);
}

static void read_registers(uint8_t reg, uint8_t *values, size_t count)
{
	uint8_t tx[64] = {reg};
	uint8_t rx[64];

	zassert_true(count < sizeof(tx));
	zassert_ok(transceive(OPERATION, MHZ(1), tx, rx, count + 1));
	memcpy(values, &rx[1], count);
}

static uint8_t read_register(uint8_t reg)
{
	uint8_t value;

	read_registers(reg, &value, 1);
	return value;
}

static void write_register(uint8_t reg, uint8_t value)
{
	/* Bit 7 clear: a write. */
	uint8_t tx[] = {reg & 0x7F, value};

	zassert_ok(transceive(OPERATION, MHZ(1), tx, NULL, sizeof(tx)));
}

static bool data_is_after_reset(void)
{
	uint8_t data[8];

	read_registers(REG_DATA, data, sizeof(data));
	return memcmp(data, data_after_reset, sizeof(data)) == 0;
}

/** A 20-bit code, left-aligned in three registers. */
static int32_t read_code(uint8_t reg)
{
	uint8_t data[3];

	read_registers(reg, data, sizeof(data));
	return data[0] << 12 | data[1] << 4 | data[2] >> 4;
}

static int32_t measured_centi_celsius(void)
{
	return bme280_emul_centi_celsius(bme280_emul_fine_temperature(read_code(REG_DATA + 3)));
}

static void set_temperature(int32_t centi_celsius)
{
	struct bme280_emul_sample sample = {centi_celsius, 5000, 10132500};

	zassert_ok(bme280_emul_set_sample(chip, &sample));
}

static void reset_chip(void *fixture)
{
	ARG_UNUSED(fixture);

	zassert_ok(bme280_emul_set_fault(chip, BME280_EMUL_FAULT_NONE));
	set_temperature(2500);
	write_register(REG_RESET, 0xB6);
	k_sleep(K_MSEC(10));
}

ZTEST_SUITE(bme280_emul_registers, NULL, NULL, reset_chip, NULL, NULL);

ZTEST(bme280_emul_registers, test_a_reset_restores_every_register)
{
	write_register(REG_CTRL_HUM, HUM_X1);
	write_register(REG_CONFIG, 0xA8);
	write_register(REG_CTRL_MEAS, X1_FORCED);
	k_sleep(K_MSEC(20));
	zassert_false(data_is_after_reset());
	zassert_equal(read_register(REG_CTRL_HUM), HUM_X1);
	zassert_equal(read_register(REG_CONFIG), 0xA8);

	write_register(REG_RESET, 0xB6);
	zassert_equal(read_register(REG_STATUS), IM_UPDATE);
	k_sleep(K_MSEC(10));
	zassert_equal(read_register(REG_STATUS), 0);
	zassert_equal(read_register(REG_ID), 0x60);
	zassert_equal(read_register(REG_RESET), 0);
	zassert_equal(read_register(REG_CTRL_HUM), 0);
	zassert_equal(read_register(REG_CTRL_MEAS), 0);
	zassert_equal(read_register(REG_CONFIG), 0);
	zassert_true(data_is_after_reset());
}

ZTEST(bme280_emul_registers, test_only_the_reset_command_resets)
{
	write_register(REG_CONFIG, 0xA8);
	write_register(REG_RESET, 0xB5);
	zassert_equal(read_register(REG_CONFIG), 0xA8);
}

ZTEST(bme280_emul_registers, test_the_trimming_is_where_the_datasheet_puts_it)
{
	/* 27504, 26435, -1000, 36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000. */
	static const uint8_t words[] = {0x70, 0x6B, 0x43, 0x67, 0x18, 0xFC, 0x7D, 0x8E,
					0x43, 0xD6, 0xD0, 0x0B, 0x27, 0x0B, 0x8C, 0x00,
					0xF9, 0xFF, 0x8C, 0x3C, 0xF8, 0xC6, 0x70, 0x17};
	/* 363, 0, 328 = 0x148, 50 = 0x032, 30. */
	static const uint8_t humidity[] = {0x6B, 0x01, 0x00, 0x14, 0x28, 0x03, 0x1E};
	uint8_t read[sizeof(words) + 2];

	read_registers(REG_CALIB, read, sizeof(read));
	zassert_mem_equal(read, words, sizeof(words));
	zassert_equal(read[24], 0, "0xA0 is reserved");
	zassert_equal(read[25], 75, "0xA1 is H1");
	read_registers(REG_CALIB_HUM, read, sizeof(humidity));
	zassert_mem_equal(read, humidity, sizeof(humidity));
}

ZTEST(bme280_emul_registers, test_reserved_registers_read_zero)
{
	static const uint8_t reserved[] = {0x80, 0x87, 0xA0, 0xA2, 0xCF, 0xD1, 0xDF,
					  0xE8, 0xF0, 0xF1, 0xF6, 0xFF};

	write_register(REG_CTRL_MEAS, X1_FORCED);
	k_sleep(K_MSEC(20));
	ARRAY_FOR_EACH(reserved, i) {
		zassert_equal(read_register(reserved[i]), 0, "0x%02x", reserved[i]);
	}
}

ZTEST(bme280_emul_registers, test_writes_come_in_pairs_and_read_only_registers_stay)
{
	uint8_t pairs[] = {REG_CTRL_HUM & 0x7F, HUM_X16,           REG_CONFIG & 0x7F, 0x10,
			   REG_ID & 0x7F,       0x11,              REG_CALIB & 0x7F,  0xFF,
			   REG_DATA & 0x7F,     0xFF,              REG_STATUS & 0x7F, 0xFF,
			   REG_CTRL_MEAS & 0x7F, X1_SLEEP};

	zassert_ok(transceive(OPERATION, MHZ(1), pairs, NULL, sizeof(pairs)));
	zassert_equal(read_register(REG_CTRL_HUM), HUM_X16);
	zassert_equal(read_register(REG_CONFIG), 0x10);
	zassert_equal(read_register(REG_CTRL_MEAS), X1_SLEEP);
	zassert_equal(read_register(REG_ID), 0x60);
	zassert_equal(read_register(REG_CALIB), 0x70);
	zassert_equal(read_register(REG_STATUS), 0);
	zassert_true(data_is_after_reset());
}

ZTEST(bme280_emul_registers, test_a_bus_the_chip_cannot_follow_is_refused)
{
	uint8_t tx[2] = {REG_ID};
	uint8_t rx[2];

	zassert_ok(transceive(OPERATION | SPI_MODE_CPOL | SPI_MODE_CPHA, MHZ(10), tx, rx, 2));
	zassert_equal(rx[1], 0x60);
	zassert_equal(transceive(OPERATION | SPI_MODE_CPOL, MHZ(1), tx, rx, 2), -EINVAL);
	zassert_equal(transceive(OPERATION | SPI_MODE_CPHA, MHZ(1), tx, rx, 2), -EINVAL);
	zassert_equal(transceive(OPERATION | SPI_TRANSFER_LSB, MHZ(1), tx, rx, 2), -EINVAL);
	zassert_equal(transceive(SPI_WORD_SET(16), MHZ(1), tx, rx, 2), -EINVAL);
	zassert_equal(transceive(OPERATION, MHZ(10) + 1, tx, rx, 2), -EINVAL);
}

ZTEST(bme280_emul_registers, test_a_sleeping_chip_measures_nothing)
{
	write_register(REG_CTRL_MEAS, X1_SLEEP);
	k_sleep(K_SECONDS(10));
	zassert_equal(read_register(REG_STATUS), 0);
	zassert_true(data_is_after_reset());
}

ZTEST(bme280_emul_registers, test_forced_mode_measures_once_and_sleeps)
{
	/* Both codes mean forced. */
	for (uint8_t mode = 1; mode <= 2; mode++) {
		uint8_t ctrl_meas = (X16_FORCED & ~0x03) | mode;

		reset_chip(NULL);
		write_register(REG_CTRL_HUM, HUM_X16);
		write_register(REG_CTRL_MEAS, ctrl_meas);
		zassert_equal(read_register(REG_STATUS), MEASURING);
		zassert_equal(read_register(REG_CTRL_MEAS), ctrl_meas);
		k_sleep(K_MSEC(80));
		zassert_equal(read_register(REG_STATUS), MEASURING);
		zassert_true(data_is_after_reset());

		k_sleep(K_MSEC(30));
		zassert_equal(read_register(REG_STATUS), 0);
		zassert_equal(read_register(REG_CTRL_MEAS), ctrl_meas & ~0x03);
		zassert_equal(measured_centi_celsius(), 2500);

		set_temperature(3000);
		k_sleep(K_SECONDS(10));
		zassert_equal(measured_centi_celsius(), 2500, "measured without being asked");
	}
}

ZTEST(bme280_emul_registers, test_a_measurement_sees_the_values_at_its_end)
{
	write_register(REG_CTRL_HUM, HUM_X16);
	write_register(REG_CTRL_MEAS, X16_FORCED);
	k_sleep(K_MSEC(50));
	set_temperature(3000);
	k_sleep(K_SECONDS(1));
	set_temperature(3500);
	zassert_equal(measured_centi_celsius(), 3000);
}

ZTEST(bme280_emul_registers, test_normal_mode_measures_by_itself_once_per_cycle)
{
	write_register(REG_CTRL_HUM, HUM_X16);
	/* 1000 ms standby: a cycle of 1098 ms. */
	write_register(REG_CONFIG, 0xA0);
	write_register(REG_CTRL_MEAS, X16_NORMAL);
	zassert_equal(read_register(REG_STATUS), MEASURING);
	k_sleep(K_MSEC(120));
	zassert_equal(read_register(REG_STATUS), 0);
	zassert_equal(measured_centi_celsius(), 2500);

	set_temperature(3000);
	k_sleep(K_MSEC(800));
	zassert_equal(measured_centi_celsius(), 2500, "the next measurement is not due");
	k_sleep(K_MSEC(300));
	zassert_equal(measured_centi_celsius(), 3000);

	/* After 1000 unwatched cycles still in step. */
	set_temperature(3500);
	k_sleep(K_MSEC(1098 * 1000));
	zassert_equal(measured_centi_celsius(), 3500);
	set_temperature(4000);
	k_sleep(K_MSEC(850));
	zassert_equal(measured_centi_celsius(), 3500, "the next measurement is not due");
	k_sleep(K_MSEC(248));
	zassert_equal(measured_centi_celsius(), 4000);
	zassert_equal(read_register(REG_CTRL_MEAS), X16_NORMAL);
}

ZTEST(bme280_emul_registers, test_config_is_not_written_in_normal_mode)
{
	write_register(REG_CONFIG, 0x10);
	write_register(REG_CTRL_MEAS, X1_NORMAL);
	write_register(REG_CONFIG, 0xA0);
	zassert_equal(read_register(REG_CONFIG), 0x10);
}

ZTEST(bme280_emul_registers, test_ctrl_hum_takes_effect_with_ctrl_meas)
{
	uint8_t data[8];

	write_register(REG_CTRL_MEAS, X1_SLEEP);
	write_register(REG_CTRL_HUM, HUM_X1);
	write_register(REG_CTRL_MEAS, X1_FORCED);
	k_sleep(K_MSEC(20));
	read_registers(REG_DATA, data, sizeof(data));
	zassert_false(data[6] == 0x80 && data[7] == 0x00, "humidity was not measured");

	/* Switched off, but only by name: the next measurement is in one cycle of normal mode. */
	write_register(REG_CTRL_MEAS, X1_NORMAL);
	write_register(REG_CTRL_HUM, 0);
	k_sleep(K_MSEC(200));
	read_registers(REG_DATA, data, sizeof(data));
	zassert_false(data[6] == 0x80 && data[7] == 0x00, "took effect too early");
}

ZTEST(bme280_emul_registers, test_skipped_channels_read_as_after_a_reset)
{
	uint8_t data[8];

	/* Pressure and humidity skipped. */
	write_register(REG_CTRL_MEAS, 0x21);
	k_sleep(K_MSEC(20));
	read_registers(REG_DATA, data, sizeof(data));
	zassert_mem_equal(data, data_after_reset, 3);
	zassert_mem_equal(&data[6], &data_after_reset[6], 2);
	zassert_equal(measured_centi_celsius(), 2500);

	/* Temperature skipped. */
	write_register(REG_CTRL_MEAS, 0x05);
	k_sleep(K_MSEC(20));
	read_registers(REG_DATA, data, sizeof(data));
	zassert_mem_equal(&data[3], &data_after_reset[3], 3);
	zassert_true(memcmp(data, data_after_reset, 3) != 0);
}

ZTEST(bme280_emul_registers, test_a_mode_change_waits_for_the_measurement)
{
	write_register(REG_CTRL_HUM, HUM_X16);
	write_register(REG_CTRL_MEAS, X16_FORCED);
	k_sleep(K_MSEC(50));
	/* A second one is asked for, and what follows is ignored. */
	write_register(REG_CTRL_MEAS, X16_FORCED);
	write_register(REG_CTRL_MEAS, X1_SLEEP);
	write_register(REG_CTRL_HUM, 0);
	zassert_equal(read_register(REG_CTRL_HUM), HUM_X16);
	k_sleep(K_MSEC(100));
	zassert_equal(measured_centi_celsius(), 2500, "the first measurement did not end");
	zassert_equal(read_register(REG_STATUS), MEASURING, "the second did not begin");
	set_temperature(3000);
	k_sleep(K_MSEC(70));
	zassert_equal(read_register(REG_STATUS), 0);
	zassert_equal(measured_centi_celsius(), 3000);

	/* Normal mode is left the same way. */
	write_register(REG_CTRL_MEAS, X16_NORMAL);
	write_register(REG_CTRL_MEAS, X16_NORMAL & ~0x03);
	zassert_equal(read_register(REG_STATUS), MEASURING);
	k_sleep(K_MSEC(120));
	zassert_equal(read_register(REG_STATUS), 0);
	zassert_equal(read_register(REG_CTRL_MEAS), X16_NORMAL & ~0x03);
}

ZTEST(bme280_emul_registers, test_a_stuck_chip_is_busy_until_mended)
{
	write_register(REG_CTRL_MEAS, X1_FORCED);
	zassert_ok(bme280_emul_set_fault(chip, BME280_EMUL_FAULT_STUCK_BUSY));
	k_sleep(K_SECONDS(10));
	zassert_equal(read_register(REG_STATUS), MEASURING);
	zassert_true(data_is_after_reset());
	zassert_ok(bme280_emul_set_fault(chip, BME280_EMUL_FAULT_NONE));
	zassert_equal(read_register(REG_STATUS), 0);
	zassert_equal(measured_centi_celsius(), 2500);
}

ZTEST(bme280_emul_registers, test_the_bad_id_is_neither_a_bme280_nor_a_bmp280)
{
	zassert_ok(bme280_emul_set_fault(chip, BME280_EMUL_FAULT_BAD_ID));
	zassert_equal(read_register(REG_ID), 0x55);
}

ZTEST(bme280_emul_registers, test_the_filter_gives_full_resolution)
{
	write_register(REG_CONFIG, 0x00);
	write_register(REG_CTRL_MEAS, X1_FORCED);
	k_sleep(K_MSEC(20));
	zassert_equal(read_code(REG_DATA) % 16, 0, "more than 16 bits without filter");
	write_register(REG_CONFIG, 0x04);
	write_register(REG_CTRL_MEAS, X1_FORCED);
	k_sleep(K_MSEC(20));
	zassert_not_equal(read_code(REG_DATA) % 16, 0);
}
