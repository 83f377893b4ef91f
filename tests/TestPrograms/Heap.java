// The same for Java: see Heap.cs.
import java.nio.file.*;
import java.util.concurrent.atomic.AtomicLong;

final class Heap {
    private static final int SLOTS = 4096;
    private static volatile String failure;
    private static volatile boolean stop;
    private static final AtomicLong rounds = new AtomicLong();

    private record Node(long identity, byte[] bytes, Node older) {}

    public static void main(String[] arguments) throws Exception {
        Path directory = Path.of(arguments[0]);
        long seed = Long.parseLong(arguments[1]);
        Thread[] threads = new Thread[3];
        for (int i = 0; i < threads.length; i++) {
            long own = mix(seed + i);
            threads[i] = new Thread(() -> work(own));
            threads[i].start();
        }
        for (long sequence = 0; !Files.exists(directory.resolve("stop")) && failure == null; sequence++) {
            Files.writeString(directory.resolve("log"), Files.readString(Path.of("/run/host-name")).trim() + " " + sequence + " " + System.currentTimeMillis() * 1000 + "\n",
                StandardOpenOption.CREATE, StandardOpenOption.APPEND);
            replace(directory, "status", "heap " + rounds + "\n");
            Thread.sleep(5);
        }
        stop = true;
        for (Thread thread : threads)
            thread.join();
        replace(directory, "result", failure == null ? "OK\n" : "BAD " + failure + "\n");
        System.exit(failure == null ? 0 : 1);
    }

    private static void replace(Path directory, String name, String text) throws Exception {
        Files.writeString(directory.resolve(name + ".new"), text);
        Files.move(directory.resolve(name + ".new"), directory.resolve(name), StandardCopyOption.REPLACE_EXISTING);
    }

    private static void work(long random) {
        Node[] heap = new Node[SLOTS];
        while (!stop && failure == null) {
            for (int i = 0; i < 64; i++) {
                random = mix(random + 1);
                int slot = (int) Long.remainderUnsigned(random, SLOTS);
                check(heap[slot]);
                Node older = heap[slot] == null ? null : new Node(heap[slot].identity, heap[slot].bytes, null);
                heap[slot] = make(random, random % 512 == 0 ? 100_000 : (int) (random >>> 20 & 8191), older);
            }
            rounds.incrementAndGet();
            if (random % 128 == 0)
                System.gc();
            try {
                Thread.sleep(1);
            } catch (InterruptedException e) {
                failure = e.toString();
            }
        }
        for (Node node : heap)
            check(node);
    }

    private static Node make(long identity, int length, Node older) {
        byte[] bytes = new byte[length];
        for (int i = 0; i < length; i++)
            bytes[i] = (byte) (identity >>> (i & 7) * 8 ^ i);
        return new Node(identity, bytes, older);
    }

    private static void check(Node node) {
        for (; node != null; node = node.older)
            for (int i = 0; i < node.bytes.length; i++)
                if (node.bytes[i] != (byte) (node.identity >>> (i & 7) * 8 ^ i)) {
                    failure = "byte " + i + " of " + node.bytes.length + " of object " + Long.toHexString(node.identity) + " is " + node.bytes[i];
                    return;
                }
    }

    private static long mix(long x) {
        x = (x ^ (x >>> 30)) * 0xbf58476d1ce4e5b9L;
        x = (x ^ (x >>> 27)) * 0x94d049bb133111ebL;
        return x ^ (x >>> 31);
    }
}
