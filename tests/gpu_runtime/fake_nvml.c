/* A thin stand-in for NVIDIA's libnvidia-ml.so.1, for machines without a GPU: two GPUs, the second one old.
   It checks what it is given as far as the real one would refuse it. HOTLOOP_FAKE_NVML=dead: no driver. */
#include <stdlib.h>
#include <string.h>

enum { OK = 0, UNINITIALIZED = 1, INVALID = 2, UNSUPPORTED = 3, TOO_SMALL = 7, UNKNOWN = 999 };
typedef struct { int index; } Device;
typedef struct { int number; } Sample;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } Memory;
typedef struct { unsigned gpu, memory; } Utilisation;
typedef struct { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; } Process;
typedef struct { unsigned version, is_supported; } Support;
typedef struct { unsigned id, result; double value; char *names[3]; } Metric;
typedef struct { unsigned version, count; Sample *first, *second; Metric metrics[1]; } Metrics;

static Device devices[2] = {{0}, {1}};
static int is_open, num_taken, num_samples;

int nvmlInit_v2(void) {
    const char *how = getenv("HOTLOOP_FAKE_NVML");
    if (how && !strcmp(how, "dead")) return UNKNOWN;
    is_open++;
    return OK;
}
int nvmlShutdown(void) { if (!is_open || num_samples) return UNINITIALIZED; is_open--; return OK; }
int fakeIsOpen(void) { return is_open; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return is_open ? OK : UNINITIALIZED; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device **device) {
    if (index > 1) return INVALID;
    *device = &devices[index];
    return OK;
}
static int text(char *into, unsigned size, const char *said) {
    if (size <= strlen(said)) return TOO_SMALL;
    strcpy(into, said);
    return OK;
}
int nvmlDeviceGetName(Device *device, char *name, unsigned size) {
    return text(name, size, device->index ? "Tesla T4" : "NVIDIA H100 80GB HBM3");
}
int nvmlDeviceGetUUID(Device *device, char *uuid, unsigned size) {
    return text(uuid, size, device->index ? "GPU-bbbb" : "GPU-aaaa");
}
int nvmlDeviceGetMemoryInfo_v2(Device *device, Memory *memory) {
    if (memory->version != (sizeof(Memory) | 2u << 24)) return INVALID;
    memory->total = 80ull << 30;
    memory->reserved = 1ull << 30;
    memory->used = (14ull + device->index) << 30;
    memory->free = memory->total - memory->used;
    return OK;
}
int nvmlDeviceGetUtilizationRates(Device *device, Utilisation *rates) {
    if (device->index) return UNSUPPORTED;
    rates->gpu = 97;
    rates->memory = 12;
    return OK;
}
int nvmlDeviceGetPowerUsage(Device *device, unsigned *milliwatts) {
    *milliwatts = device->index ? 31500 : 412000;
    return OK;
}
int nvmlDeviceGetEnforcedPowerLimit(Device *device, unsigned *milliwatts) {
    if (device->index) return UNSUPPORTED;
    *milliwatts = 700000;
    return OK;
}
int nvmlDeviceGetComputeRunningProcesses_v3(Device *device, unsigned *count, Process *processes) {
    if (device->index) { *count = 0; return OK; }
    const char *ours = getenv("HOTLOOP_FAKE_NVML_PID");
    if (*count < 3) { *count = 3; return TOO_SMALL; }
    *count = 3;
    Process found[3] = {{1, 5ull << 30, 0, 0}, {ours ? (unsigned)atoi(ours) : 2, 9ull << 30, 0, 0}, {3, -1ull, 0, 0}};
    memcpy(processes, found, sizeof found);
    return OK;
}
int nvmlGpmQueryDeviceSupport(Device *device, Support *support) {
    if (support->version != 1) return INVALID;
    support->is_supported = !device->index;
    return OK;
}
int nvmlGpmSampleAlloc(Sample **sample) { *sample = calloc(1, sizeof(Sample)); num_samples++; return OK; }
int nvmlGpmSampleFree(Sample *sample) { free(sample); num_samples--; return OK; }
int nvmlGpmSampleGet(Device *device, Sample *sample) {
    if (device->index) return UNSUPPORTED;
    sample->number = ++num_taken;
    return OK;
}
int nvmlGpmMetricsGet(Metrics *asked) {
    if (asked->version != 1 || asked->count != 1 || asked->first->number >= asked->second->number) return INVALID;
    if (asked->metrics[0].id != 2) { asked->metrics[0].result = UNSUPPORTED; return OK; }
    asked->metrics[0].value = 41.5;
    asked->metrics[0].result = OK;
    return OK;
}
