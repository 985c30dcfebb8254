/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Shared between the files of the BME280 emulator and its tests: calibration, the way between
 * physical values and ADC codes, the chip, what the command line asks for. Nobody else includes it.
 */
#ifndef BME280_EMUL_INTERNAL_H_
#define BME280_EMUL_INTERNAL_H_

#include <zephyr/kernel.h>

#include <sensor_device/bme280_emul.h>

/** Trimming parameters, named and sized as in datasheet table 16. */
struct bme280_emul_calibration {
	uint16_t t1;
	int16_t t2, t3;
	uint16_t p1;
	int16_t p2, p3, p4, p5, p6, p7, p8, p9;
	uint8_t h1;
	int16_t h2;
	uint8_t h3;
	/** 12 bits each. */
	int16_t h4, h5;
	int8_t h6;
};

/** The trimming of every emulated chip. */
extern const struct bme280_emul_calibration bme280_emul_calibration;

/** One measurement as the data registers hold it: 20, 20 and 16 bits. */
struct bme280_emul_adc {
	int32_t temperature;
	int32_t pressure;
	int32_t humidity;
};

/** Content of calibration register @p reg, 0 for a reserved one. */
uint8_t bme280_emul_calibration_register(uint8_t reg);

/** Datasheet 4.2.3: the fine temperature, in 1/5120 degC, that the other formulas build on. */
int32_t bme280_emul_fine_temperature(int32_t adc_temperature);

/** Datasheet 4.2.3: temperature in 0.01 degC. */
int32_t bme280_emul_centi_celsius(int32_t fine_temperature);

/** Datasheet 4.2.3, 64-bit variant: pressure in 1/256 Pa. */
int64_t bme280_emul_pressure_q8(int32_t adc_pressure, int32_t fine_temperature);

/** Datasheet 4.2.3: relative humidity in 1/1024 %RH, not yet held to 0..100 %RH. */
int64_t bme280_emul_humidity_q10(int32_t adc_humidity, int32_t fine_temperature);

/**
 * @brief The ADC codes whose compensation comes nearest to @p sample, which must be in range.
 *
 * @param temperature_bits Resolution of the temperature code, 16 to 20 bits (datasheet 3.4.3).
 * @param pressure_bits Resolution of the pressure code, 16 to 20 bits (datasheet 3.4.2).
 */
struct bme280_emul_adc bme280_emul_find_adc(const struct bme280_emul_sample *sample,
					    uint8_t temperature_bits, uint8_t pressure_bits);

/** What an emulated chip is doing. */
enum bme280_emul_phase {
	BME280_EMUL_SLEEP,
	BME280_EMUL_MEASURING,
	BME280_EMUL_STANDBY,
};

/** One emulated chip and what surrounds it. Its functions want the lock held. */
struct bme280_emul_chip {
	struct k_spinlock lock;

	/* Around the chip. */
	struct bme280_emul_sample sample;
	enum bme280_emul_fault fault;
	bool drift;
	int64_t drift_since_us;

	/* In the chip. */
	uint8_t ctrl_hum;
	/** Takes effect with the next write to ctrl_meas (5.4.3). */
	uint8_t ctrl_hum_written;
	uint8_t ctrl_meas;
	uint8_t config;
	uint8_t data[8];
	enum bme280_emul_phase phase;
	int64_t phase_since_us;
	int64_t start_up_ends_us;
	/** A write to ctrl_meas that waits for the end of the measurement (3.3.1), or -1. */
	int pending_ctrl_meas;
};

/** Time since the boot, in microseconds. */
int64_t bme280_emul_now_us(void);

/** Power-on or soft reset. What surrounds the chip stays. */
void bme280_emul_chip_reset(struct bme280_emul_chip *chip);

/** Let the chip do all it would have done by now. */
void bme280_emul_chip_catch_up(struct bme280_emul_chip *chip);

/** Content of a register, after catching up. */
uint8_t bme280_emul_chip_read(const struct bme280_emul_chip *chip, uint8_t reg);

/** Write to a register, after catching up. What the chip would ignore is ignored. */
void bme280_emul_chip_write(struct bme280_emul_chip *chip, uint8_t reg, uint8_t value);

/** What every emulated chip starts with; the command line may change it before the boot. */
struct bme280_emul_boot {
	struct bme280_emul_sample sample;
	enum bme280_emul_fault fault;
	bool drift;
};

extern struct bme280_emul_boot bme280_emul_boot;

#endif /* BME280_EMUL_INTERNAL_H_ */
