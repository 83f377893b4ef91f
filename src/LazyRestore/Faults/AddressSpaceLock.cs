using System.Diagnostics;
using PostCopy.Linux;

namespace PostCopy.Faults;

/// <summary>
/// Held shared by those that install pages, and exclusively by who reads events. Who waits for exclusive use goes before those that come later for
/// shared. Not recursive, and a thread lets go what it took itself.
/// </summary>
/// <remarks>
/// A thread that must wait looks on for some microseconds, about half of what a slice takes to install, and then sleeps. It never yields its CPU, as
/// <see cref="ReaderWriterLockSlim"/> does some twenty times: what gets it then is a thread that pushes pages, and has it until the next tick of the
/// scheduler, while a task waits for a page that nobody asks for.
/// </remarks>
internal sealed class AddressSpaceLock
{
    private const int Exclusive = 1 << 30;
    private const int ExclusiveWanted = 1 << 29;
    private const int Holders = ExclusiveWanted - 1;

    private const int SpinUs = 20;

    /// <summary>Where there is one CPU nobody makes progress meanwhile.</summary>
    private static readonly long SpinTicks = Environment.ProcessorCount > 1 ? Stopwatch.Frequency * SpinUs / 1_000_000 : 0;

    /// <summary>How many hold it shared, and the two bits above.</summary>
    private readonly Futex _state = new();

    /// <summary>How many sleep, or are about to.</summary>
    private int _sleepers;

    /// <summary>Takes it, beside others that do the same.</summary>
    public void EnterShared()
    {
        if (!TryEnterShared(out _))
        {
            Wait(exclusive: false);
        }
    }

    /// <summary>Lets go.</summary>
    public void ExitShared()
    {
        if ((Interlocked.Decrement(ref _state.Word) & Holders) == 0)
        {
            WakeSleepers();
        }
    }

    /// <summary>Takes it for the calling thread alone.</summary>
    public void EnterExclusive()
    {
        if (!TryEnterExclusive(out _))
        {
            Wait(exclusive: true);
        }
    }

    /// <summary>Lets go.</summary>
    public void ExitExclusive()
    {
        Interlocked.And(ref _state.Word, ~Exclusive);
        WakeSleepers();
    }

    private bool TryEnterShared(out int state)
    {
        state = Volatile.Read(ref _state.Word);
        while ((state & (Exclusive | ExclusiveWanted)) == 0)
        {
            if (TryChange(ref state, state + 1))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>If it cannot be had, it is wanted: those that hold it finish, and nobody else begins.</summary>
    private bool TryEnterExclusive(out int state)
    {
        state = Volatile.Read(ref _state.Word);
        while (true)
        {
            if ((state & (Exclusive | Holders)) == 0)
            {
                // Another one that wants it says so again when it has looked.
                if (TryChange(ref state, Exclusive))
                {
                    return true;
                }
            }
            else if ((state & ExclusiveWanted) != 0 || TryChange(ref state, state | ExclusiveWanted))
            {
                return false;
            }
        }
    }

    /// <summary>Afterwards <paramref name="state"/> is what there is.</summary>
    private bool TryChange(ref int state, int next)
    {
        int seen = Interlocked.CompareExchange(ref _state.Word, next, state);
        bool isChanged = seen == state;
        state = isChanged ? next : seen;
        return isChanged;
    }

    private void Wait(bool exclusive)
    {
        long giveUp = Stopwatch.GetTimestamp() + SpinTicks;
        while (Stopwatch.GetTimestamp() < giveUp)
        {
            Thread.SpinWait(1);
            if (exclusive ? TryEnterExclusive(out _) : TryEnterShared(out _))
            {
                return;
            }
        }

        // Who lets go changes the word and then looks for sleepers; this counts itself and then looks at the word. So one sees the other: either the
        // word is no more what kept this thread out, and the kernel does not let it sleep, or it is woken.
        Interlocked.Increment(ref _sleepers);
        while (exclusive ? !TryEnterExclusive(out int state) : !TryEnterShared(out state))
        {
            _state.Wait(state);
        }

        Interlocked.Decrement(ref _sleepers);
    }

    private void WakeSleepers()
    {
        if (Volatile.Read(ref _sleepers) > 0)
        {
            _state.WakeAll();
        }
    }
}
