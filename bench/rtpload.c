// rtpload: speaks RTP on many ports at once and tells what became of it.
//
//   cc -O2 -o rtpload rtpload.c -lpthread
//   rtpload PLAN SECONDS WARM > result.json
//
// PLAN has one end of a call per line, the two ends of a call one after the other:
//   IP PORT  TO_IP TO_PORT  PAYLOAD_TYPE CLOCK  FRAMES START
// Each end sends the frames of FRAMES (16 bits of length, little endian, and the payload) from frame
// START on, round and round, one per 20 ms, and receives what comes. Ends are spread evenly over the
// 20 ms, as calls are.
//
// Delay is from just before send() to the kernel's timestamp of the answer, so that this program's own
// lag does not count. Which frame a packet answers: its payload, if that is among the last frames the
// other end sent (a relay); otherwise the first packet of a stream answers the frame sent last before
// it (a transcoder), and the rest follow by RTP timestamp. A transcoder that holds its first frame for
// longer than 20 ms is flattered by whole frames. Counted are the frames sent between WARM and SECONDS.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FRAME_NS 20000000LL
#define BATCH 16
#define LOOK_BACK 64

typedef struct {
    char path[256];
    uint8_t *bytes;
    uint32_t count, *offset;
} frames_t;

typedef struct end {
    int fd, type, clock;
    struct sockaddr_in to;
    frames_t *frames;
    struct end *other;
    uint32_t start, ssrc, timestamp;
    uint16_t sequence;
    _Atomic int64_t *sent;   // when each frame was sent; 0: not yet
    _Atomic uint32_t next;   // frames sent so far
    uint8_t *seen;
    int anchored;
    uint32_t peer_ssrc, anchor_timestamp;
    int64_t anchor;          // the frame that the packet of anchor_timestamp answers
    uint64_t received, unmatched, twice;
} end_t;

static end_t *ends;
static int end_count;
static frames_t files[16];
static int file_count;
static uint32_t slots, warm_slots;
static volatile int over;
static float *delays;
static size_t delay_count, delay_room;

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void fail(const char *what) {
    perror(what);
    exit(2);
}

static frames_t *frames_of(const char *path) {
    for (int i = 0; i < file_count; i++)
        if (!strcmp(files[i].path, path)) return &files[i];
    frames_t *f = &files[file_count++];
    snprintf(f->path, sizeof f->path, "%s", path);
    int fd = open(path, O_RDONLY);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) || !(f->bytes = malloc(st.st_size)) || read(fd, f->bytes, st.st_size) != st.st_size) fail(path);
    close(fd);
    f->offset = malloc((st.st_size / 2 + 1) * sizeof *f->offset);
    for (long at = 0; at + 2 <= st.st_size; at += 2 + (f->bytes[at] | f->bytes[at + 1] << 8)) f->offset[f->count++] = at;
    return f;
}

static const uint8_t *frame_of(const end_t *e, uint32_t slot, int *length) {
    const uint8_t *p = e->frames->bytes + e->frames->offset[(e->start + slot) % e->frames->count];
    *length = p[0] | p[1] << 8;
    return p + 2;
}

static void address(struct sockaddr_in *a, const char *ip, int port) {
    a->sin_family = AF_INET;
    a->sin_port = htons(port);
    if (inet_pton(AF_INET, ip, &a->sin_addr) != 1) fail(ip);
}

static void read_plan(const char *path) {
    FILE *f = fopen(path, "r");
    if (!f) fail(path);
    char line[1024], ip[64], to[64], file[256];
    int room = 0, port, to_port, type, clock;
    unsigned start;
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "%63s %d %63s %d %d %d %255s %u", ip, &port, to, &to_port, &type, &clock, file, &start) != 8) continue;
        if (end_count == room) ends = realloc(ends, (room = room ? 2 * room : 64) * sizeof *ends);
        end_t *e = &ends[end_count++];
        memset(e, 0, sizeof *e);
        struct sockaddr_in here = {0};
        address(&here, ip, port);
        address(&e->to, to, to_port);
        e->type = type, e->clock = clock, e->frames = frames_of(file), e->start = start;
        e->ssrc = 0x1234567u * (end_count + 1), e->timestamp = 7919u * end_count, e->sequence = 17 * end_count & 0x7fff;
        e->sent = calloc(slots + 1, sizeof *e->sent), e->seen = calloc(slots + 1, 1);
        e->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        int on = 1, buffer = 1 << 18;
        setsockopt(e->fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
        setsockopt(e->fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
        if (bind(e->fd, (void *)&here, sizeof here)) fail("bind");
    }
    fclose(f);
    for (int i = 0; i + 1 < end_count; i += 2) ends[i].other = &ends[i + 1], ends[i + 1].other = &ends[i];
}

// The frame of the other end that a stream's first packet answers; -1: cannot tell yet.
static int64_t answered(const end_t *other, const uint8_t *payload, int length, int64_t at) {
    int64_t next = other->next, found = -1;
    for (int64_t k = next > LOOK_BACK ? next - LOOK_BACK : 0; k < next; k++) {
        int n;
        const uint8_t *frame = frame_of(other, k, &n);
        if (n != length || memcmp(frame, payload, n)) continue;
        if (found >= 0) return -1; // silence repeats itself
        found = k;
    }
    for (int64_t k = next - 1; found < 0 && k >= 0; k--)
        if (other->sent[k] && other->sent[k] <= at) found = k;
    return found;
}

static void take(end_t *e, const uint8_t *p, int length, int64_t at) {
    if (length < 12 || p[0] >> 6 != 2 || ((p[1] & 127) >= 72 && (p[1] & 127) <= 76) || (p[1] & 127) != e->type) return;
    int header = 12 + 4 * (p[0] & 15);
    if (header > length) return;
    uint32_t timestamp = (uint32_t)p[4] << 24 | p[5] << 16 | p[6] << 8 | p[7];
    uint32_t ssrc = (uint32_t)p[8] << 24 | p[9] << 16 | p[10] << 8 | p[11];
    end_t *other = e->other;
    e->received++;
    if (!e->anchored || ssrc != e->peer_ssrc) {
        e->peer_ssrc = ssrc, e->anchor_timestamp = timestamp;
        e->anchor = answered(other, p + header, length - header, at);
        e->anchored = e->anchor >= 0;
        if (!e->anchored) return;
    }
    int64_t slot = e->anchor + (int32_t)(timestamp - e->anchor_timestamp) / (e->clock / 50);
    if (slot < 0 || slot >= slots || !other->sent[slot] || other->sent[slot] > at) {
        e->unmatched++, e->anchored = 0;
        return;
    }
    if (e->seen[slot]++) {
        e->twice++;
    } else if (slot >= warm_slots) {
        if (delay_count == delay_room) delays = realloc(delays, (delay_room = delay_room ? 2 * delay_room : 65536) * sizeof *delays);
        delays[delay_count++] = (at - other->sent[slot]) / 1e3f;
    }
}

static void *receive(void *epoll) {
    static uint8_t bytes[BATCH][2048];
    static char control[BATCH][128];
    struct epoll_event ready[256];
    while (!over) {
        int n = epoll_wait(*(int *)epoll, ready, 256, 50);
        for (int i = 0; i < n; i++) {
            end_t *e = &ends[ready[i].data.u32];
            struct mmsghdr messages[BATCH];
            struct iovec parts[BATCH];
            memset(messages, 0, sizeof messages);
            for (int k = 0; k < BATCH; k++) {
                parts[k] = (struct iovec){bytes[k], sizeof bytes[k]};
                messages[k].msg_hdr = (struct msghdr){.msg_iov = &parts[k], .msg_iovlen = 1, .msg_control = control[k], .msg_controllen = sizeof control[k]};
            }
            int got = recvmmsg(e->fd, messages, BATCH, MSG_DONTWAIT, 0);
            for (int k = 0; k < got; k++) {
                int64_t at = now_ns();
                for (struct cmsghdr *c = CMSG_FIRSTHDR(&messages[k].msg_hdr); c; c = CMSG_NXTHDR(&messages[k].msg_hdr, c))
                    if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_TIMESTAMPNS) {
                        struct timespec t;
                        memcpy(&t, CMSG_DATA(c), sizeof t);
                        at = t.tv_sec * 1000000000LL + t.tv_nsec;
                    }
                take(e, bytes[k], messages[k].msg_len, at);
            }
        }
    }
    return 0;
}

static int by_size(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

static double part(float *sorted, size_t n, double q) { return n ? sorted[(size_t)(q * (n - 1) + 0.5)] : -1; }

int main(int argc, char **argv) {
    if (argc != 4) return fprintf(stderr, "usage: rtpload PLAN SECONDS WARM\n"), 2;
    slots = atof(argv[2]) * 50, warm_slots = atof(argv[3]) * 50;
    struct rlimit files_limit;
    getrlimit(RLIMIT_NOFILE, &files_limit);
    files_limit.rlim_cur = files_limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files_limit);
    read_plan(argv[1]);
    int epoll = epoll_create1(0);
    for (int i = 0; i < end_count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        epoll_ctl(epoll, EPOLL_CTL_ADD, ends[i].fd, &event);
    }
    pthread_t receiver;
    pthread_create(&receiver, 0, receive, &epoll);
    float *lags = malloc(((size_t)slots * end_count + 1) * sizeof *lags);
    size_t lag_count = 0;
    int64_t began = now_ns() + 20000000;
    uint64_t refused = 0;
    for (uint32_t slot = 0; slot < slots; slot++)
        for (int i = 0; i < end_count; i++) {
            // The first ends of all calls, then the second ones: a call's two ends are 10 ms apart.
            end_t *e = &ends[i < (end_count + 1) / 2 ? 2 * i : 2 * (i - (end_count + 1) / 2) + 1];
            int64_t due = began + slot * FRAME_NS + FRAME_NS * i / end_count, now = now_ns();
            if (due > now) {
                struct timespec t = {due / 1000000000, due % 1000000000};
                clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &t, 0);
            }
            uint8_t packet[2048];
            int length;
            const uint8_t *payload = frame_of(e, slot, &length);
            uint16_t sequence = e->sequence + slot;
            uint32_t timestamp = e->timestamp + slot * (e->clock / 50);
            uint8_t header[12] = {0x80, e->type | (slot ? 0 : 128), sequence >> 8, sequence, timestamp >> 24, timestamp >> 16, timestamp >> 8, timestamp,
                                  e->ssrc >> 24, e->ssrc >> 16, e->ssrc >> 8, e->ssrc};
            memcpy(packet, header, 12);
            memcpy(packet + 12, payload, length);
            now = now_ns();
            atomic_store(&e->sent[slot], now);
            atomic_store(&e->next, slot + 1);
            if (sendto(e->fd, packet, 12 + length, 0, (void *)&e->to, sizeof e->to) < 0) refused++, e->sent[slot] = 0;
            lags[lag_count++] = (now - due) / 1e3f;
        }
    usleep(300000);
    over = 1;
    pthread_join(receiver, 0);
    uint64_t expected = 0, received = 0, unmatched = 0, twice = 0;
    for (int i = 0; i < end_count; i++) {
        received += ends[i].received, unmatched += ends[i].unmatched, twice += ends[i].twice;
        for (uint32_t slot = warm_slots; slot < slots; slot++) expected += ends[i].sent[slot] != 0;
    }
    qsort(delays, delay_count, sizeof *delays, by_size);
    qsort(lags, lag_count, sizeof *lags, by_size);
    printf("{\"expected\":%llu,\"answered\":%zu,\"received\":%llu,\"unmatched\":%llu,\"twice\":%llu,\"refused\":%llu,"
           "\"delay_us\":{\"p50\":%.0f,\"p99\":%.0f,\"p999\":%.0f,\"max\":%.0f},\"lag_us\":{\"p50\":%.0f,\"p99\":%.0f}}\n",
           (unsigned long long)expected, delay_count, (unsigned long long)received, (unsigned long long)unmatched, (unsigned long long)twice,
           (unsigned long long)refused, part(delays, delay_count, .5), part(delays, delay_count, .99), part(delays, delay_count, .999),
           part(delays, delay_count, 1), part(lags, lag_count, .5), part(lags, lag_count, .99));
    return 0;
}
