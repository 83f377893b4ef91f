// A .NET heap that proves itself, and is collected all the time: large and small arrays, linked to each other, replaced at random by several threads.
// As tests/TestPrograms/storm: DIRECTORY SEED; status, result and log in DIRECTORY; ends when there is a file stop.
using System;
using System.IO;
using System.Threading;

internal static class Heap
{
    private const int Slots = 4096;

    private sealed record Node(ulong Identity, byte[] Bytes, Node Older);

    private static volatile string failure;
    private static volatile bool stop;
    private static long rounds;

    private static int Main(string[] arguments)
    {
        Directory.SetCurrentDirectory(arguments[0]);
        ulong seed = ulong.Parse(arguments[1]);
        Thread[] threads = new Thread[3];
        for (int i = 0; i < threads.Length; i++)
        {
            ulong own = Mix(seed + (ulong)i);
            threads[i] = new Thread(() => Work(own));
            threads[i].Start();
        }

        for (long sequence = 0; !File.Exists("stop") && failure is null; sequence++)
        {
            File.AppendAllText("log", $"{File.ReadAllText("/run/host-name").Trim()} {sequence} {(DateTime.UtcNow - DateTime.UnixEpoch).Ticks / 10}\n");
            File.WriteAllText("status.new", $"heap {Interlocked.Read(ref rounds)}\n");
            File.Move("status.new", "status", overwrite: true);
            Thread.Sleep(5);
        }

        stop = true;
        foreach (Thread thread in threads)
        {
            thread.Join();
        }

        File.WriteAllText("result.new", failure is null ? "OK\n" : $"BAD {failure}\n");
        File.Move("result.new", "result");
        return failure is null ? 0 : 1;
    }

    private static void Work(ulong random)
    {
        Node[] heap = new Node[Slots];
        while (!stop && failure is null)
        {
            for (int i = 0; i < 64; i++)
            {
                random = Mix(random + 1);
                int slot = (int)(random % Slots);
                Check(heap[slot]);
                // Some are large objects, which are collected in another way; each keeps what it replaces for one generation.
                heap[slot] = Make(random, random % 512 == 0 ? 100_000 : (int)(random >> 20 & 8191), heap[slot] is { } older ? older with { Older = null } : null);
            }

            Interlocked.Increment(ref rounds);
            if (random % 128 == 0)
            {
                GC.Collect(2, GCCollectionMode.Aggressive, blocking: true, compacting: true);
            }

            Thread.Sleep(1);
        }

        foreach (Node node in heap)
        {
            Check(node);
        }
    }

    private static Node Make(ulong identity, int length, Node older)
    {
        byte[] bytes = new byte[length];
        for (int i = 0; i < length; i++)
        {
            bytes[i] = (byte)(identity >> (i & 7) * 8 ^ (ulong)i);
        }

        return new Node(identity, bytes, older);
    }

    private static void Check(Node node)
    {
        for (; node is not null; node = node.Older)
        {
            for (int i = 0; i < node.Bytes.Length; i++)
            {
                if (node.Bytes[i] != (byte)(node.Identity >> (i & 7) * 8 ^ (ulong)i))
                {
                    failure ??= $"byte {i} of {node.Bytes.Length} of object {node.Identity:x} is {node.Bytes[i]:x}";
                    return;
                }
            }
        }
    }

    private static ulong Mix(ulong x)
    {
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
        x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
        return x ^ (x >> 31);
    }
}
