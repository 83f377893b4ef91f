using System.Globalization;
using PostCopy.Images;

namespace PostCopy.Display;

/// <summary>Lays out an <see cref="ImageSummary"/> for a person: the process tree with its memory, why memory is eager, and the files.</summary>
internal sealed class InspectReport(TextWriter output)
{
    private const int NameWidth = 34;
    private const int MaxIndent = 60;
    private const string Nothing = "-";

    public void Write(ImageSummary summary)
    {
        WriteHead(summary);
        WriteProcesses(summary);
        WriteEager(summary.Memory);
        WriteTotals(summary);
    }

    private void WriteHead(ImageSummary summary)
    {
        string network = summary.HasOwnNetworkNamespace ? "own namespace" : "the host's";
        output.WriteLine($"CRIU images in {summary.Directory}");
        output.WriteLine($"  format {summary.ImageVersion}, run id {summary.CriuRunId ?? "not recorded"}");
        output.WriteLine($"  network: {network}, locked with {NameOf(summary.NetworkLock)}");
        foreach (string parent in summary.ParentDirectories)
        {
            output.WriteLine($"  parent images: {parent}");
        }

        output.WriteLine();
    }

    private void WriteProcesses(ImageSummary summary)
    {
        Row("PROCESS", "STATE", "THREADS", "LAZY", "EAGER", "PARENT", "ZERO");
        ILookup<int?, ProcessSummary> children = summary.Processes.ToLookup(static process => process.ParentPid);

        // A stack instead of recursion: images may describe a chain of thousands of processes.
        var pending = new Stack<(ProcessSummary Process, string Lead, string Below)>();
        foreach (ProcessSummary root in children[null])
        {
            pending.Push((root, "", ""));
        }

        while (pending.TryPop(out (ProcessSummary Process, string Lead, string Below) next))
        {
            WriteProcess(next.Process, next.Lead);
            bool last = true;
            bool indent = next.Below.Length < MaxIndent;
            foreach (ProcessSummary child in children[next.Process.Pid].Reverse())
            {
                pending.Push((child, next.Below + (last ? "└─ " : "├─ "), indent ? next.Below + (last ? "   " : "│  ") : next.Below));
                last = false;
            }
        }

        output.WriteLine();
    }

    private void WriteProcess(ProcessSummary process, string lead) => Row(
        $"{lead}{process.Pid} {process.Command}",
        NameOf(process.State),
        process.Threads.ToString(CultureInfo.InvariantCulture),
        Size(process.Memory.Lazy.Bytes),
        Size(process.Memory.Eager.Bytes),
        Size(process.Memory.Parent.Bytes),
        Size(process.Memory.Zero.Bytes));

    private void Row(string name, string state, string threads, string lazy, string eager, string parent, string zero) =>
        output.WriteLine($"{name,-NameWidth} {state,-8} {threads,7} {lazy,11} {eager,11} {parent,11} {zero,11}");

    private void WriteEager(MemorySummary memory)
    {
        if (memory.EagerByReason.Count == 0)
        {
            return;
        }

        output.WriteLine($"{"WHY MEMORY IS EAGER",-NameWidth} {"PAGES",16} {"SIZE",11}  BECAUSE");
        foreach (EagerMemory part in memory.EagerByReason)
        {
            output.WriteLine($"{NameOf(part.Reason),-NameWidth} {part.Amount.Pages,16} {Size(part.Amount.Bytes),11}  {WhyOf(part.Reason)}".TrimEnd());
        }

        output.WriteLine();
    }

    private void WriteTotals(ImageSummary summary)
    {
        MemorySummary memory = summary.Memory;
        output.WriteLine($"Travels lazily, after the restore: {Size(memory.Lazy.Bytes)} ({memory.Lazy.Pages} pages)");
        if (memory.LazyInImages.Pages > 0)
        {
            output.WriteLine($"  of which in these images as well: {Size(memory.LazyInImages.Bytes)} (not a lazy dump)");
        }

        if (memory.Parent.Pages > 0)
        {
            output.WriteLine($"Travelled before, as parent images: {Size(memory.Parent.Bytes)} ({memory.Parent.Pages} pages), restored before the start");
        }

        output.WriteLine($"Travels during the freeze:         {Size(summary.Downtime.ImageBytes)} in {summary.Downtime.FileCount} files, the largest:");
        foreach (ImageFileSize file in summary.Downtime.LargestFiles)
        {
            output.WriteLine($"  {file.Name,-32} {Size(file.Bytes),11}");
        }
    }

    private static string NameOf(ImageTaskState state) => state switch
    {
        ImageTaskState.Stopped => "stopped",
        ImageTaskState.Zombie => "zombie",
        _ => "alive",
    };

    private static string NameOf(ImageNetworkLock networkLock) => networkLock switch
    {
        ImageNetworkLock.Nftables => "nftables",
        ImageNetworkLock.Skip => "nothing",
        _ => "iptables",
    };

    private static string NameOf(EagerReason reason) => reason switch
    {
        EagerReason.FilePrivate => "written pages of private files",
        EagerReason.Shared => "shared memory",
        EagerReason.HugeTlb => "huge pages (hugetlbfs)",
        EagerReason.Locked => "locked memory (mlock)",
        EagerReason.Vdso => "vDSO",
        EagerReason.AioRing => "asynchronous I/O rings",
        EagerReason.StackPointer => "kept back for a stack pointer",
        _ => "other",
    };

    private static string WhyOf(EagerReason reason) => reason switch
    {
        EagerReason.FilePrivate => "userfaultfd takes anonymous memory alone",
        EagerReason.Shared => "CRIU makes it once for all who share it",
        EagerReason.HugeTlb => "CRIU fills huge pages before the start",
        EagerReason.Locked => "mlock promises that no access waits",
        EagerReason.Vdso => "the destination's kernel brings its own",
        EagerReason.AioRing => "the kernel itself writes there",
        EagerReason.StackPointer => "the restore itself runs on it",
        _ => "",
    };

    private static string Size(long bytes) => bytes == 0 ? Nothing : Quantity.Bytes((ulong)bytes);
}
