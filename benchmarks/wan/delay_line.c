// A slow line between two network namespaces: two TUN devices whose packets are passed on after a delay, some lost.
// For kernels without netem. SIGUSR1 cuts the line (packets vanish), SIGUSR2 mends it.
//
// delay_line NAMESPACE NAMESPACE ONE_WAY_US LOSS_PERCENT RATE_MBIT(0: no limit); prints "up" when packets pass.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { QUEUE = 20000, LARGEST = 65536, AT_ONCE = 64 };

struct packet {
  int64_t due_ns;
  int size;
  unsigned char *data;
};

struct direction {
  int from, to;
  int64_t delay_ns;
  double loss, bits_per_ns;
  unsigned seed;
};

static volatile sig_atomic_t is_cut;

static void on_signal(int number) { is_cut = number == SIGUSR1; }

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void die(const char *what) {
  perror(what);
  exit(1);
}

static int open_tun(const char *namespace) {
  char path[256];
  snprintf(path, sizeof path, "/var/run/netns/%s", namespace);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || setns(fd, CLONE_NEWNET)) die(path);
  close(fd);
  int tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
  strcpy(request.ifr_name, "wan");
  if (tun < 0 || ioctl(tun, TUNSETIFF, &request)) die("/dev/net/tun");
  return tun;
}

static int is_lost(struct direction *line) {
  return is_cut || (line->loss > 0 && rand_r(&line->seed) / (RAND_MAX + 1.0) < line->loss);
}

static void *carry(void *argument) {
  struct direction *line = argument;
  struct packet *ring = calloc(QUEUE, sizeof *ring);
  unsigned char buffer[LARGEST];
  int first = 0, count = 0;
  int64_t free_at_ns = 0;
  prctl(PR_SET_TIMERSLACK, 1000);
  for (;;) {
    for (; count && ring[first].due_ns <= now_ns(); first = (first + 1) % QUEUE, count--) {
      if (write(line->to, ring[first].data, ring[first].size) < 0) { /* the other side's queue is full: lost */ }
      free(ring[first].data);
    }
    struct pollfd ready = {line->from, POLLIN, 0};
    int64_t wait_ns = count ? ring[first].due_ns - now_ns() : 0;
    struct timespec wait = {wait_ns > 0 ? wait_ns / 1000000000 : 0, wait_ns > 0 ? wait_ns % 1000000000 : 0};
    ppoll(&ready, 1, count ? &wait : NULL, NULL);
    for (int n = 0; n < AT_ONCE; n++) {
      int size = read(line->from, buffer, sizeof buffer);
      if (size <= 0) break;
      if (is_lost(line) || count == QUEUE) continue;
      int64_t sent_ns = now_ns();
      if (line->bits_per_ns > 0) {
        if (free_at_ns > sent_ns) sent_ns = free_at_ns;
        sent_ns = free_at_ns = sent_ns + (int64_t)(size * 8 / line->bits_per_ns);
      }
      struct packet *packet = &ring[(first + count++) % QUEUE];
      *packet = (struct packet){sent_ns + line->delay_ns, size, malloc(size)};
      memcpy(packet->data, buffer, size);
    }
  }
}

int main(int count, char **arguments) {
  if (count != 6) return 2;
  int a = open_tun(arguments[1]), b = open_tun(arguments[2]);
  struct direction there = {a, b, atoll(arguments[3]) * 1000, atof(arguments[4]) / 100, atof(arguments[5]) / 1000, 1};
  struct direction back = there;
  back.from = b, back.to = a, back.seed = 2;
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  sigaction(SIGUSR1, &action, NULL);
  sigaction(SIGUSR2, &action, NULL);
  pthread_t threads[2];
  if (pthread_create(&threads[0], NULL, carry, &there) || pthread_create(&threads[1], NULL, carry, &back)) die("thread");
  puts("up");
  fflush(stdout);
  for (;;) pause();
}
