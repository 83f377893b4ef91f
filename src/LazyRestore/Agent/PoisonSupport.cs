using PostCopy.Check;
using PostCopy.Linux;
using PostCopy.Memory;
using PostCopy.Userfault;

namespace PostCopy.Agent;

/// <summary>Whether this kernel can make a missing page a SIGBUS (UFFDIO_POISON), by trying it on a page of our own.</summary>
internal static class PoisonSupport
{
    /// <summary>What is to be said where it cannot.</summary>
    internal const string Needs = "This kernel cannot poison pages (UFFDIO_POISON): that takes Linux 6.6 or newer.";

    /// <summary>False only when the kernel says that it does not know the call. Where there is no userfaultfd at all, other checks say so.</summary>
    internal static bool IsHere
    {
        get
        {
            try
            {
                using ScratchPage page = ScratchPage.Create(flags: 0, features: 0);
                page.Register(UffdCalls.UFFDIO_REGISTER_MODE_MISSING);
                // The descriptor stays the page's.
                return new Userfaultfd(page.UserfaultFd).Poison((ulong)page.Address, PageSize.Bytes).Errno is not (Errno.EINVAL or Errno.ENOTTY);
            }
            catch (LinuxException)
            {
                return true;
            }
        }
    }
}
